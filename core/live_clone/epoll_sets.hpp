// What is registered in an epoll set: for plan (epoll_sets.cpp) and preflight. Knows the "tfd:" lines of /proc/PID/fdinfo.
#pragma once

#include "sys.hpp"

namespace gridcentric::live_clone {

/// One entry of an epoll set.
struct Registration {
  int fd;
  uint32_t events;
  uint64_t data;
};

/// The next entry in the text of an fdinfo file, and the inode of its file; what to go on from, or null when there is none.
const char *next_registration(const char *text, Registration *entry, unsigned long *inode);

/// Is this descriptor of the process what has been registered under its number? An entry outlives its descriptor when the
/// open file lives on elsewhere; it can't be made again then. True where the kernel does not tell.
bool still_registered(int pid, int set, int fd);

/// For people: what clones lack.
Text &tell_lost_registrations(Text &text, int fd, size_t count);

}  // namespace gridcentric::live_clone
