// inotify in clones: an instance without watches that never reuses the number of one that its master had, and reports for each
// of these that it has ended (IN_IGNORED). The plan (watches.cpp) and the preflight find watches with this. Knows the "inotify"
// lines of /proc/PID/fdinfo.
#pragma once

#include "sys.hpp"

namespace gridcentric::live_clone {

/// Numbers above this are not used up, as each costs time in every clone.
inline constexpr unsigned long highest_watch_kept_apart = 100'000;

/// Reads the next watch in the text of an fdinfo file. Returns where to continue, or null if there is none.
const char *next_watch(const char *text, unsigned long *number);

/// Text for people: what clones lack.
Text &tell_lost_watches(Text &text, int fd, const char *fdinfo);

}  // namespace gridcentric::live_clone
