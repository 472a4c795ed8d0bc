// Which processes can't be cloned as part of a tree, and how that is said: one table for the clone (gather.cpp, progress.cpp) and the
// preflight (preflight_tree.cpp). Runs while threads are parked: see sys.hpp.
#pragma once

#include "../sys.hpp"
#include "process_facts.hpp"

namespace gridcentric::live_clone::tree {

/// How a text begins that is about one process of several.
Text &tell_process(Text &text, int pid, const char *name);
/// The same for one that can't be cloned because of what it is, not of what it has open.
Text &tell_child(Text &text, const Facts &facts);

/// What a process has to be like, as its tree's root is.
struct Likeness {
  int depth;  ///< of namespaces
  unsigned user;
};

/// Writes why it can't be cloned with the root; false: it can. `loaded`: it is ready for the root's signal. Its state is not that of
/// one that has ended.
bool tell_obstacle(Text &text, const Facts &facts, bool loaded, const Likeness &root);
/// Of one that may be about to become ready: it has just begun.
bool may_be_starting(const Facts &facts, bool loaded, const Likeness &root);
/// Has it ended? What waits to be asked for its exit status is a process no more.
bool is_over(const Facts &facts);

Text &tell_too_many(Text &text);
extern const char *const pidns_mode_only;

}  // namespace gridcentric::live_clone::tree
