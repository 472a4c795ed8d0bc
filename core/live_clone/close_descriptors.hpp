// Closes ranges of descriptors, in a process that shares another's memory: raw system calls only, see sys.hpp.
#pragma once

#include "sys.hpp"

namespace gridcentric::live_clone {

/// Closes all from `first` to `last`; returns 0 or the error. If close_range() is missing (before Linux 5.9) or forbidden by
/// a filter, closes one by one what /proc lists.
inline int close_descriptors(unsigned first, unsigned last) {
  if (first > last || sys(SYS_close_range, first, last, 0) == 0) return 0;
  const long dir = sys(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0) return (int)-dir;
  alignas(8) char listing[1024];
  long n;
  while ((n = sys(SYS_getdents64, dir, listing, sizeof listing)) > 0)
    for (const char *p = listing; p < listing + n; p += reinterpret_cast<const DirectoryEntry *>(p)->length) {
      const char *name = reinterpret_cast<const DirectoryEntry *>(p)->name;
      unsigned long fd;
      if (*name == '.') continue;
      parse_dec(name, &fd);
      if (fd >= first && fd <= last && (long)fd != dir) sys(SYS_close, fd);
    }
  sys(SYS_close, dir);
  return n < 0 ? (int)-n : 0;
}

/// The same for all but these; a negative one is none.
inline int close_all_but(const int *wanted, int count) {
  int err = 0, next = 0;  // all below `next` have been dealt with
  for (int done = 0; !err && done < count; done++) {
    int lowest = INT32_MAX;
    for (int i = 0; i < count; i++)
      if (wanted[i] >= next && wanted[i] < lowest) lowest = wanted[i];
    if (lowest == INT32_MAX) break;
    if (lowest > next) err = close_descriptors((unsigned)next, (unsigned)lowest - 1);
    next = lowest + 1;
  }
  return err ? err : close_descriptors((unsigned)next, ~0u);
}

}  // namespace gridcentric::live_clone
