// The engine's preflight as a text for people.
#pragma once
#include <string>
#include <vector>

#include "core/guest/client.hpp"
#include "core/live_clone/live_clone.hpp"

namespace gridcentric::guest {

live_clone::Mode mode_here();  // GRIDCENTRIC_CLONE_MODE, or what the probe says
// repeats: of generators::what_repeats().
Explanation readable(const live_clone::Preflight &preflight, live_clone::Mode mode,
                     const std::vector<std::string> &repeats);

}  // namespace gridcentric::guest
