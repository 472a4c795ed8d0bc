# Builds the addon, gc and gc-reaper from the one source list (core/sources.txt): see scripts/sources.js, which also
# knows where the core is (the checkout's, or the copy inside the packed package). Flags mirror the CMake build.
{
  "variables": {
    "root": "<!(node scripts/sources.js root)",
    "version": "<!(node scripts/sources.js version)",
    "parked_flags": [
      "-fno-stack-protector", "-fno-plt", "-fno-asynchronous-unwind-tables", "-U_FORTIFY_SOURCE",
      "<!@(node -p \"process.arch === 'x64' ? '-fcf-protection=none' : ''\")"
    ]
  },
  "target_defaults": {
    "include_dirs": ["<(root)", "<(root)/core/include"],
    "defines": ["GC_VERSION=\"<(version)\""],
    "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"],
    "cflags!": ["-fno-omit-frame-pointer"],
    "cflags_cc": ["-std=c++20", "-fvisibility-inlines-hidden", "-fexceptions", "-frtti"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-fno-exceptions", "-fno-rtti"],
    "ldflags": ["-pthread", "-Wl,-z,now"]
  },
  "targets": [
    {
      "target_name": "gridcentric_core",
      "type": "static_library",
      "sources": ["<!@(node scripts/sources.js core)"]
    },
    {
      # Runs while all threads are parked: flags as in core/live_clone/live_clone.cmake.
      "target_name": "gridcentric_parked",
      "type": "static_library",
      "sources": ["<!@(node scripts/sources.js parked)"],
      "cflags": ["<@(parked_flags)"],
      "cflags_cc": ["-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"],
      "cflags_cc!": ["-fexceptions", "-frtti"]
    },
    {
      "target_name": "gridcentric",
      "sources": ["src/addon.cpp", "src/environment.cpp", "src/random.cpp", "src/verbs.cpp"],
      "dependencies": ["gridcentric_core", "gridcentric_parked"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_ADDON_API_CPP_EXCEPTIONS"]
    },
    {
      # A shell loop starts it often: no C++ library to be found and bound each time.
      "target_name": "gc",
      "type": "executable",
      "sources": ["<!@(node scripts/sources.js gc)"],
      "dependencies": ["gridcentric_core", "gridcentric_parked"],
      "ldflags": ["-static-libstdc++", "-static-libgcc"]
    },
    {
      # Stands beside each clone: as small as can be.
      "target_name": "gc-reaper",
      "type": "executable",
      "sources": ["<!@(node scripts/sources.js reaper)"],
      "cflags": ["<@(parked_flags)", "-Os", "-ffreestanding", "-fno-builtin", "-fno-pie", "-fno-tree-loop-distribute-patterns"],
      "cflags!": ["-fPIC", "-pthread", "-O3"],
      "cflags_cc": ["-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"],
      "cflags_cc!": ["-fexceptions", "-frtti"],
      "ldflags": ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-s"],
      "ldflags!": ["-pthread", "-rdynamic"]
    }
  ]
}
