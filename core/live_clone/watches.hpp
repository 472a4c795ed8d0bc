// What clones have of inotify: an instance without watches, which never gives the number of one that its master had, and tells
// of each of these that it has ended (IN_IGNORED). Plan (watches.cpp) and preflight find the watches by this. Knows the
// "inotify" lines of /proc/PID/fdinfo.
#pragma once

#include "sys.hpp"

namespace gridcentric::live_clone {

/// Numbers above this are not looked after: each costs a moment in every clone.
inline constexpr unsigned long highest_watch_kept_apart = 100'000;

/// The next watch in the text of an fdinfo file; what to go on from, or null when there is none.
const char *next_watch(const char *text, unsigned long *number);

/// For people: what clones lack.
Text &tell_lost_watches(Text &text, int fd, const char *fdinfo);

}  // namespace gridcentric::live_clone
