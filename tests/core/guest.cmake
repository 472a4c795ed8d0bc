# Tests of the guest: its client with a scripted host, its processes, the C API with a real private host.
add_executable(guest_tests tests/core/guest_main.cpp tests/core/guest_client.cpp tests/core/guest_process.cpp
                           tests/core/guest_programs.cpp)
target_compile_definitions(guest_tests PRIVATE GC_BINARY="$<TARGET_FILE:gc>")
target_link_libraries(guest_tests PRIVATE gridcentric_static gc_tests)
add_dependencies(guest_tests gc)
add_test(NAME guest COMMAND guest_tests)

# Linked with the shared library, like a user's C program.
foreach(program capi binding)
  add_executable(guest_${program}_test tests/core/guest_${program}.c)
  set_target_properties(guest_${program}_test PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
  target_compile_options(guest_${program}_test PRIVATE -Wall -Wextra -Werror -pedantic)
  target_include_directories(guest_${program}_test PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(guest_${program}_test PRIVATE gridcentric_shared Threads::Threads)
  add_dependencies(guest_${program}_test gc gc-reaper)
endforeach()

# It loads the libraries to reseed by name, so that it builds without them.
add_executable(guest_generators_test tests/core/guest_generators.c)
set_target_properties(guest_generators_test PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON)
target_compile_options(guest_generators_test PRIVATE -Wall -Wextra -Werror)
target_link_libraries(guest_generators_test PRIVATE gridcentric_shared Threads::Threads ${CMAKE_DL_LIBS})
add_dependencies(guest_generators_test gc gc-reaper)

# Listings of 2010, compiled by three standards, with GC_MY_TICKET unused or used; any warning is an error.
add_executable(listings_c99 tests/core/listings.c)
add_executable(listings_cpp98 tests/core/listings.cpp)
add_executable(listings_cpp20 tests/core/listings.cpp)
set_target_properties(listings_c99 PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
set_target_properties(listings_cpp98 PROPERTIES CXX_STANDARD 98 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF)
set_target_properties(listings_cpp20 PROPERTIES CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF)
foreach(program listings_c99 listings_cpp98 listings_cpp20)
  target_compile_options(${program} PRIVATE -Wall -Wextra -Wshadow -Wconversion -Werror -pedantic-errors)
  target_link_libraries(${program} PRIVATE gridcentric_shared)
  add_dependencies(${program} gc gc-reaper)
  add_test(NAME ${program} COMMAND ${program})
  set_property(TEST ${program} PROPERTY ENVIRONMENT GRIDCENTRIC_GC=$<TARGET_FILE:gc>)
endforeach()

# The real clone path.
foreach(program live prepare)
  add_executable(guest_${program}_test tests/core/guest_${program}.cpp)
  target_link_libraries(guest_${program}_test PRIVATE gridcentric_static gc_tests)
  add_dependencies(guest_${program}_test gc gc-reaper)
endforeach()

foreach(mode pidns plain)
  foreach(program capi binding live prepare generators)
    add_test(NAME guest_${program}_${mode} COMMAND guest_${program}_test)
    set_property(TEST guest_${program}_${mode} PROPERTY ENVIRONMENT GRIDCENTRIC_GC=$<TARGET_FILE:gc>
                                                                    GRIDCENTRIC_CLONE_MODE=${mode})
    set_property(TEST guest_${program}_${mode} PROPERTY SKIP_RETURN_CODE 77)
  endforeach()
endforeach()

add_test(NAME guest_install COMMAND ${CMAKE_COMMAND} -DBUILD=${CMAKE_BINARY_DIR}
  -DWORK=${CMAKE_BINARY_DIR}/install-test -DCC=${CMAKE_C_COMPILER} -P ${CMAKE_SOURCE_DIR}/tests/core/install_test.cmake)
