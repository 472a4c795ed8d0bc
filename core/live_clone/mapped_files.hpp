// Whose a MAP_SHARED mapping is: the program's own memory, of which a clone gets a copy, or a file on a disk, which
// goes on being that file, with a name or without.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gridcentric::live_clone {

/// `name` as /proc/self/maps has it, up to the end of the line; `device` as it has it, major << 32 | minor. `space` is
/// for reading the table of mounts, when that is needed.
bool is_program_memory(const char *name, uint64_t device, char *space, size_t size);

}  // namespace gridcentric::live_clone
