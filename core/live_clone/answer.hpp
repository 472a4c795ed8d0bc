// What a clone reads from a pipe in which it would otherwise find end-of-file: see AnswerPipe in live_clone.hpp. Plain data, for code
// that runs while threads are parked.
#pragma once
#include <cstddef>

namespace gridcentric::live_clone {

struct Answer {
  char bytes[24];
  size_t size;
};

}  // namespace gridcentric::live_clone
