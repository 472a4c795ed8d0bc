# Tests of the guest: its client against a scripted host, the C API, the pieces it is made of.
add_executable(guest_tests tests/core/guest_main.cpp tests/core/guest_client.cpp)
target_link_libraries(guest_tests PRIVATE gridcentric_static gc_warnings)
add_test(NAME guest COMMAND guest_tests)
