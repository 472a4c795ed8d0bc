// `guest_tests program NAME` runs one of these instead of the tests.
#pragma once
#include <string>

int run_test_program(const std::string &name);
