// Which ends of a pipe are inside, which stay shared: the rule of the plan (pipes.cpp) and of the preflight.
#pragma once

namespace gridcentric::live_clone {

inline constexpr int reading_end = 1, writing_end = 2;

/// Of a descriptor's F_GETFL.
int pipe_ends(int flags);
/// `ends` of one open file, when descriptors 0 to 2 are the ends `standard` of its pipe: the same end as one of
/// those, through whatever open file (/dev/stderr opened anew, say), is shared as they are.
bool pipe_stays_shared(int ends, int standard);
/// `ends`: all that the process has of a pipe.
bool pipe_is_inside(int ends, int standard);

/// For people: what becomes of an end that is neither.
inline constexpr const char *dead_pipe =
    "a pipe to the outside stays the master's; in clones reads give end-of-file, writes EPIPE";
inline constexpr const char *dead_pty =
    "a pseudo-terminal to the outside stays the master's; in clones reads give end-of-file, writes EIO";

}  // namespace gridcentric::live_clone
