// The entries of an epoll set, for the plan (epoll_sets.cpp) and the preflight. Knows the "tfd:" lines of /proc/PID/fdinfo.
#pragma once

#include "sys.hpp"

namespace gridcentric::live_clone {

/// One entry of an epoll set.
struct Registration {
  int fd;
  uint32_t events;
  uint64_t data;
};

/// Reads the next entry in the text of an fdinfo file, and the inode of its file. Returns where to continue, or null if there
/// is none.
const char *next_registration(const char *text, Registration *entry, unsigned long *inode);

/// Is this descriptor still the file that was registered under its number? An entry outlives its descriptor while the open
/// file lives on elsewhere; then it cannot be registered again. True if the kernel does not say.
bool still_registered(int pid, int set, int fd);

/// Text for people: what clones lack.
Text &tell_lost_registrations(Text &text, int fd, size_t count);

}  // namespace gridcentric::live_clone
