# The decoder under libFuzzer (clang only), with its own build of the sources.
add_executable(fuzz_wire
  tests/core/fuzz_wire.cpp core/wire/cloning.cpp core/wire/lines.cpp core/wire/orders.cpp core/wire/request.cpp core/wire/text.cpp core/model/error.cpp
  core/model/uuid.cpp)
target_include_directories(fuzz_wire PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/core/include)
target_compile_options(fuzz_wire PRIVATE -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all)
target_link_options(fuzz_wire PRIVATE -fsanitize=fuzzer,address,undefined)
