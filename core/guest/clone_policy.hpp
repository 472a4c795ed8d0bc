// What refuses a cloning before anybody is stopped.
// It must not know: the protocol, hooks, how clones are made.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/generators/findings.hpp"

namespace gridcentric::guest {

// With GRIDCENTRIC_STRICT: throws Error NOT_SUPPORTED when something is loaded whose random numbers repeat in clones.
void refuse_what_repeats(const std::vector<generators::Repeating> &found_by_binding);

// Set by `gc run --tree`: see children_are_cloned().
inline constexpr const char *whole_tree_variable = "GRIDCENTRIC_TREE";

struct CloneRefusal {
  int error;  // an errno value
  std::string reason;
};

// Why this process can't carry out an order to clone itself; nullopt: it can.
std::optional<CloneRefusal> why_not_this_process();

}  // namespace gridcentric::guest
