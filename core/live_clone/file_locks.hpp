// What a file lock of the master means for a clone: one rule for the plan (file_locks.cpp) and the preflight. Knows the
// "lock:" lines of /proc/PID/fdinfo.
#pragma once

#include <cstdint>

#include "sys.hpp"

namespace gridcentric::live_clone {

struct FileLock {
  enum Type { posix, open_file, flock } type;
  bool writes;
  uint64_t start, length;  ///< length 0: to the end of the file, even as it grows
};

enum class LockRule {
  take_again,  ///< shared: the clone takes its own before any of its threads runs
  wait_for,    ///< a transaction: the clone has to wait until it is released
  leave,       ///< ownership: it stays with the master, and the file is read-only in the clone
};

/// Reads the next lock in the text of an fdinfo file. Returns where to continue, or null if there is none.
const char *next_lock(const char *text, FileLock *lock);

LockRule rule_of(const FileLock &lock);

/// Does the owner of `locked` own the file at this path too? True for the file itself, for those named after it (a log
/// beside a database) and, if `locked` is called LOCK and stands for its folder, for all files in it.
bool is_owned_with(const char *path, const char *locked);

/// Text for people: what happens to the lock.
Text &tell(Text &text, const FileLock &lock, int fd, const char *path);

}  // namespace gridcentric::live_clone
