// The engine's preflight as a text for people.
#pragma once
#include "core/guest/client.hpp"
#include "core/live_clone/live_clone.hpp"

namespace gridcentric::guest {

live_clone::Mode mode_here();  // GRIDCENTRIC_CLONE_MODE, or what the probe says
Explanation readable(const live_clone::Preflight &preflight, live_clone::Mode mode);

}  // namespace gridcentric::guest
