// The mappings that a clone must know of: those of files and of shared memory. Since Linux 6.11 the kernel is asked for each
// of them alone (PROCMAP_QUERY, https://docs.kernel.org/filesystems/proc.html); before, /proc/self/maps is read, which takes
// longer the more memory of its own a program has mapped. It does not know what is done about a mapping. Runs while threads
// are parked: see sys.hpp.
#pragma once

#include "maps_line.hpp"

namespace gridcentric::live_clone {

/// Where the kernel's own pages are: code (the vDSO) and the data before it. Both 0: nowhere.
struct KernelPages {
  uint64_t start, end;
};

/// Memory for whoever looks at a mapping, which is free until he is done with it.
struct Space {
  char *start;
  size_t size;
};

/// False, with a failure: it can't be cloned.
using LookAt = bool (*)(const MapsLine &, Space);

/// Calls `begin`, then `look` for each mapping of a file or of shared memory, in the order of their addresses; also for
/// others, if /proc/self/maps has to be read. That may turn out on the way: then it begins again, with `begin`. Never for the
/// kernel's own pages, which it finds. False, with a failure: one can't be cloned, or they can't be read.
bool look_at_mappings(void (*begin)(), LookAt look, KernelPages *kernel);

}  // namespace gridcentric::live_clone
