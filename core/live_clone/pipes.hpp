// Which ends of a pipe are inside the process and which stay shared: one rule for the plan (pipes.cpp) and the preflight.
#pragma once

namespace gridcentric::live_clone {

inline constexpr int reading_end = 1, writing_end = 2;

/// The end that a descriptor is, by its F_GETFL.
int pipe_ends(int flags);
/// Is an open file with `ends` shared, if descriptors 0 to 2 are the ends `standard` of its pipe? The same end as one of
/// those is shared like them, whatever its open file (/dev/stderr opened anew, say).
bool pipe_stays_shared(int ends, int standard);
/// `ends`: all ends of a pipe that the process has.
bool pipe_is_inside(int ends, int standard);
/// `others`: all ends that other processes of its tree have.
bool pipe_is_in_tree(int ends, int others);

/// Text for people: what happens to an end that is neither inside nor shared.
inline constexpr const char *dead_pipe =
    "a pipe to the outside stays the master's; in clones reads give end-of-file, writes EPIPE";
inline constexpr const char *dead_pty =
    "a pseudo-terminal to the outside stays the master's; in clones reads give end-of-file, writes EIO";
inline constexpr const char *left_terminal =
    "its controlling terminal is made anew in clones, where only the leader of the session has it";

}  // namespace gridcentric::live_clone
