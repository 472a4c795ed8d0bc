# Builds the group `parked` (code that runs while all threads of the process are parked, with its own flags and a check of its
# symbols) and gc-reaper. Sets GC_PARKED_OBJECTS.
add_library(gc_parked OBJECT ${GC_SOURCES_parked})
target_include_directories(gc_parked PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/core/include)
set(gc_parked_flags ${GC_SOURCES_flag} -fno-sanitize=all -Wall -Wextra -Werror)
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  list(APPEND gc_parked_flags ${GC_SOURCES_flagx})
endif()
# Without optimization, byte-order conversion is a call into the C library, which the check of symbols rejects.
if(GC_SANITIZE)
  list(APPEND gc_parked_flags -O1)
endif()
# A thread may be cancelled while it waits in parker.cpp's signal handler: the unwinder must be able to pass through it.
target_compile_options(gc_parked PRIVATE ${gc_parked_flags} -fasynchronous-unwind-tables)

# Fails the build if an object of the group refers to a symbol that may allocate, lock, throw or touch TLS.
set(gc_parked_stamp ${CMAKE_CURRENT_BINARY_DIR}/parked-symbols.checked)
add_custom_command(OUTPUT ${gc_parked_stamp}
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/core/live_clone/check-parked-symbols $<TARGET_OBJECTS:gc_parked>
  COMMAND ${CMAKE_COMMAND} -E touch ${gc_parked_stamp}
  DEPENDS $<TARGET_OBJECTS:gc_parked> ${CMAKE_CURRENT_SOURCE_DIR}/core/live_clone/check-parked-symbols
  COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(gc_parked_symbols ALL DEPENDS ${gc_parked_stamp})

set(GC_PARKED_OBJECTS $<TARGET_OBJECTS:gc_parked>)
# Bind all symbols at load time: while threads are parked, one of them may hold the dynamic linker's lock.
add_link_options(-Wl,-z,now)

add_executable(gc-reaper ${GC_SOURCES_reaper})
target_include_directories(gc-reaper PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
# Loops must not become calls of memcpy or the like. For clang -fno-builtin suffices; GCC needs a flag that clang lacks.
target_compile_options(gc-reaper PRIVATE ${gc_parked_flags} -fno-asynchronous-unwind-tables -Os
  -ffreestanding -fno-builtin -fno-pie $<$<CXX_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns>)
set_target_properties(gc-reaper PROPERTIES POSITION_INDEPENDENT_CODE OFF)
# The last flag, which zig's linker does not know, saves some pages.
target_link_options(gc-reaper PRIVATE -nostdlib -static -no-pie -Wl,--build-id=none -s
  $<$<CXX_COMPILER_ID:GNU>:-Wl,-z,noseparate-code>)
install(TARGETS gc-reaper RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT gridcentric)

if(GC_TESTS AND EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/tests/live_clone/CMakeLists.txt)
  add_subdirectory(tests/live_clone)
endif()
