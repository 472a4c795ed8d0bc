// What a MAP_SHARED mapping is: the program's own memory, of which a clone gets a copy, or a file on a disk, which stays
// that file, with or without a name.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gridcentric::live_clone {

/// `name` as in /proc/self/maps, up to the end of the line; `device` as there, major << 32 | minor. `space` is a buffer for
/// the table of mounts, in case it is needed.
bool is_program_memory(const char *name, uint64_t device, char *space, size_t size);

}  // namespace gridcentric::live_clone
