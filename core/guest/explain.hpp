// The engine's preflight as a text for people, and which random numbers repeat.
#pragma once
#include <string>
#include <vector>

#include "core/guest/client.hpp"
#include "core/live_clone/live_clone.hpp"

namespace gridcentric::guest {

live_clone::Mode mode_here();  // GRIDCENTRIC_CLONE_MODE, or what the probe says

// Of a process, or of the tree that it is cloned with.
struct Examination {
  int root;  // of the tree, as /proc names it; 0: it is cloned alone
  live_clone::Mode mode;
  live_clone::Preflight preflight;
  std::vector<std::string> repeats;  // random numbers, a line for each generator
};
// Of another process, as /proc names it.
Examination examine(int pid);

// The same lines for this process or, where its children are cloned with it, for its tree.
std::vector<std::string> what_repeats_here(const std::vector<generators::Repeating> &found_by_binding);

Explanation readable(const Examination &examination);

}  // namespace gridcentric::guest
