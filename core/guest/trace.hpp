// GRIDCENTRIC_TRACE: a file that gets one line (JSON) a cloning, with the times of the engine's stages.
#pragma once
#include "core/live_clone/live_clone.hpp"

namespace gridcentric::guest {

// Does nothing when the variable is not set; a file that can't be written is said on stderr.
void trace_cloning(const live_clone::Order &order, const live_clone::Outcome &outcome);

}  // namespace gridcentric::guest
