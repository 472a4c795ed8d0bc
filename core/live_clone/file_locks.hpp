// What a file lock of the master means for a clone: the rule of the plan (file_locks.cpp) and of the preflight. Knows
// the "lock:" lines of /proc/PID/fdinfo.
#pragma once

#include <cstdint>

#include "sys.hpp"

namespace gridcentric::live_clone {

struct FileLock {
  enum Type { posix, open_file, flock } type;
  bool writes;
  uint64_t start, length;  ///< length 0: to the end of the file, however it grows
};

enum class LockRule {
  take_again,  ///< shared: the clone takes one of its own before any of its threads runs
  wait_for,    ///< a transaction: there is no clone before it is released
  leave,       ///< an ownership: stays the master's, whose file is read-only in the clone
};

/// The next lock in the text of an fdinfo file; what to go on from, or null when there is none.
const char *next_lock(const char *text, FileLock *lock);

LockRule rule_of(const FileLock &lock);

/// Is the file of this path in the hands of who owns `locked`? The file itself, those named after it (a log beside a
/// database) and, where a file called LOCK stands for its folder, all in there.
bool is_owned_with(const char *path, const char *locked);

/// For people: what becomes of the lock.
Text &tell(Text &text, const FileLock &lock, int fd, const char *path);

}  // namespace gridcentric::live_clone
