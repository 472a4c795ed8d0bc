# Builds the addon, gc, gc-reaper and libgridcentric-run.so. In a checkout whose Python package has been built ("built" is the folder)
# the core and the programs are taken from there, where they were made of the same sources; otherwise they are made of the one source
# list (core/sources.txt): see scripts/sources.js, which also knows where the core is (the checkout's, or the copy inside the packed
# package). Flags mirror the CMake build.
#
# About ten sources are compiled at once. Each folder of the core is a library: Debian 12's gyp rejects a target with two sources of
# the same name.
{
  "variables": {
    "root": "<!(node scripts/sources.js root)",
    "version": "<!(node scripts/sources.js version)",
    "built": "<!(node scripts/sources.js built)",
    "parked_flags": ["<!@(node scripts/sources.js flags)"]
  },
  "target_defaults": {
    "include_dirs": ["<(root)", "<(root)/core/include"],
    "defines": ["GC_VERSION=\"<(version)\""],
    "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden", "-pthread", "-O2"],
    "cflags!": ["-fno-omit-frame-pointer", "-O3"],
    "cflags_cc": ["-std=c++20", "-fvisibility-inlines-hidden", "-fexceptions", "-frtti"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-fno-exceptions", "-fno-rtti"],
    "ldflags": ["-pthread", "-Wl,-z,now"],
    # Debian's node-gyp links everything, including gc and gc-reaper, with the libraries of its Node. Nothing here needs
    # them: Node itself exports what an addon calls.
    "libraries/": [["exclude", "."], ["include", "libgridcentric_static"]]
  },
  "targets": [
    {
      "target_name": "gridcentric",
      "sources": [
        "src/addon.cpp", "src/environment.cpp", "src/isolates.cpp", "src/loop.cpp", "src/own_symbols.cpp", "src/random.cpp",
        "src/verbs.cpp"
      ],
      "dependencies": ["gridcentric_core"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      # The last define: a worker may be terminated while it is given an answer, and then nothing can be thrown there any more.
      "defines": [
        "NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_ADDON_API_CPP_EXCEPTIONS",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ]
    }
  ],
  "conditions": [
    [
      "built != ''",
      {
        "targets": [
          {
            "target_name": "gridcentric_core",
            "type": "none",
            # gyp does not link again for a library that has changed, but for a flag that has.
            "link_settings": {
              "libraries": ["<(built)/libgridcentric_static.a"],
              "ldflags": ["-Wl,--build-id=0x<!(node scripts/sources.js digest)"]
            },
            "copies": [
              {
                "destination": "<(PRODUCT_DIR)",
                "files": ["<(built)/gc", "<(built)/gc-reaper", "<(built)/libgridcentric-run.so"]
              }
            ]
          }
        ]
      },
      {
        "targets": [
          {
            "target_name": "gridcentric_generators",
            "type": "static_library",
            "sources": ["<!@(node scripts/sources.js together core generators)"]
          },
          {
            "target_name": "gridcentric_guest",
            "type": "static_library",
            "sources": ["<!@(node scripts/sources.js together core guest)"]
          },
          {
            "target_name": "gridcentric_host",
            "type": "static_library",
            "sources": ["<!@(node scripts/sources.js together core host)"]
          },
          {
            "target_name": "gridcentric_hypervisors",
            "type": "static_library",
            "sources": ["<!@(node scripts/sources.js together core hypervisors)"],
            "defines": ["GC_DRIVERS=<!(node scripts/sources.js drivers)"]
          },
          {
            "target_name": "gridcentric_live_clone",
            "type": "static_library",
            "sources": ["<!@(node scripts/sources.js together core live_clone)"]
          },
          {
            "target_name": "gridcentric_model",
            "type": "static_library",
            "sources": ["<!@(node scripts/sources.js together core model)"]
          },
          {
            "target_name": "gridcentric_private_files",
            "type": "static_library",
            "sources": ["<!@(node scripts/sources.js together core private_files)"]
          },
          {
            "target_name": "gridcentric_wire",
            "type": "static_library",
            "sources": ["<!@(node scripts/sources.js together core wire)"]
          },
          {
            "target_name": "gridcentric_core",
            "type": "none",
            "dependencies": [
              "gridcentric_generators", "gridcentric_guest", "gridcentric_host", "gridcentric_hypervisors", "gridcentric_live_clone",
              "gridcentric_model", "gridcentric_private_files", "gridcentric_wire", "gridcentric_parked", "gridcentric_parked_symbols"
            ]
          },
          {
            # Runs while all threads are parked: with flags of its own, and without symbols that allocate, lock or throw.
            "target_name": "gridcentric_parked",
            "type": "static_library",
            "sources": ["<!@(node scripts/sources.js together parked)"],
            # Not cflags_cc: the defaults above remove -fno-exceptions and -fno-rtti from there.
            "cflags": ["<@(parked_flags)", "-fasynchronous-unwind-tables"],
            "cflags_cc!": ["-fexceptions", "-frtti"]
          },
          {
            "target_name": "gridcentric_parked_symbols",
            "type": "none",
            "dependencies": ["gridcentric_parked"],
            "actions": [
              {
                "action_name": "check_parked_symbols",
                "inputs": ["<(root)/core/live_clone/check-parked-symbols", "<!@(node scripts/sources.js parked)"],
                "outputs": ["<(INTERMEDIATE_DIR)/parked-symbols.checked"],
                "action": ["<(root)/core/live_clone/check-parked-symbols", "--below", "<(PRODUCT_DIR)", "<@(_outputs)"]
              }
            ]
          },
          {
            # A shell loop may start it often, so it links the C++ library statically.
            "target_name": "gc",
            "type": "executable",
            "sources": ["<!@(node scripts/sources.js together gc)"],
            "dependencies": ["gridcentric_core"],
            "ldflags": ["-static-libstdc++", "-static-libgcc"]
          },
          {
            # gc run loads it into programs that are not ours: it brings all that it needs, and shows only what it interposes. Not a
            # "loadable_module", which node-gyp makes an addon of Node, nor a "shared_library", which would not lie beside gc.
            "target_name": "libgridcentric-run.so",
            "type": "executable",
            "sources": ["<!@(node scripts/sources.js preload)"],
            "dependencies": ["gridcentric_core"],
            "cflags": ["-fPIC"],
            "ldflags": ["-shared", "-static-libstdc++", "-static-libgcc", "-Wl,--version-script=<(module_root_dir)/<(root)/core/preload/exports.map"]
          },
          {
            # There is one for each clone, so it is as small as possible.
            "target_name": "gc-reaper",
            "type": "executable",
            "sources": ["<!@(node scripts/sources.js reaper)"],
            "cflags": ["<@(parked_flags)", "-fno-asynchronous-unwind-tables", "-Os", "-ffreestanding", "-fno-builtin", "-fno-pie", "-fno-tree-loop-distribute-patterns"],
            "cflags!": ["-fPIC", "-pthread", "-O2"],
            "cflags_cc!": ["-fexceptions", "-frtti"],
            "ldflags": ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-s"],
            "ldflags!": ["-pthread", "-rdynamic"]
          }
        ]
      }
    ]
  ]
}
