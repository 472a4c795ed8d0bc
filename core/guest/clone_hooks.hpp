// The files pre-clone and post-clone around one cloning: when they run, and what their failure means. How a hook runs: hooks.hpp.
// It must not know: the protocol, how clones are made.
#pragma once
#include <string>

#include "core/guest/hooks.hpp"

namespace gridcentric::guest {

// post-clone in the caller, whose clones are there: a failure is said on stderr.
void finish_caller(const HookContext &context);

// post-clone in a clone, before clone() returns there: a failure ends the clone.
void finish_clone(const HookContext &context);

// Of this domain as it is now.
HookContext context_here(const std::string &ticket, bool in_clone);

}  // namespace gridcentric::guest
