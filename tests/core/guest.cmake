# Tests of the guest: its client against a scripted host, its processes, the C API on a real private host.
add_executable(guest_tests tests/core/guest_main.cpp tests/core/guest_client.cpp tests/core/guest_process.cpp
                           tests/core/guest_programs.cpp)
target_compile_definitions(guest_tests PRIVATE GC_BINARY="$<TARGET_FILE:gc>")
target_link_libraries(guest_tests PRIVATE gridcentric_static gc_warnings)
add_dependencies(guest_tests gc)
add_test(NAME guest COMMAND guest_tests)

# Against the shared library, as a user's C program is built.
add_executable(guest_capi_test tests/core/guest_capi.c)
set_target_properties(guest_capi_test PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
target_compile_options(guest_capi_test PRIVATE -Wall -Wextra -Werror -pedantic)
target_link_libraries(guest_capi_test PRIVATE gridcentric_shared)
add_dependencies(guest_capi_test gc gc-reaper)

# The clone path for real.
add_executable(guest_live_test tests/core/guest_live.cpp)
target_link_libraries(guest_live_test PRIVATE gridcentric_static gc_warnings)
add_dependencies(guest_live_test gc gc-reaper)

foreach(mode pidns plain)
  foreach(program capi live)
    add_test(NAME guest_${program}_${mode} COMMAND guest_${program}_test)
    set_property(TEST guest_${program}_${mode} PROPERTY ENVIRONMENT GRIDCENTRIC_GC=$<TARGET_FILE:gc>
                                                                    GRIDCENTRIC_CLONE_MODE=${mode})
  endforeach()
endforeach()

add_test(NAME guest_install COMMAND ${CMAKE_COMMAND} -DBUILD=${CMAKE_BINARY_DIR}
  -DWORK=${CMAKE_BINARY_DIR}/install-test -DCC=${CMAKE_C_COMPILER} -P ${CMAKE_SOURCE_DIR}/tests/core/install_test.cmake)
