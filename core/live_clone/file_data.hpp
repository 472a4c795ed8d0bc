// The contents of files. Runs while threads are parked, or in a clone that has one thread: see sys.hpp.
#pragma once

#include <cstdint>

namespace gridcentric::live_clone {

/// Copies the first `size` bytes of a file into an empty one, and leaves its holes out. Moves the offsets of both. Returns 0 or
/// the error.
int copy_data(int from, int to, uint64_t size);

}  // namespace gridcentric::live_clone
