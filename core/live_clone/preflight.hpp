// Inside the engine: the part of the preflight that every clone() runs.
#pragma once

#include "live_clone.hpp"

namespace gridcentric::live_clone {

/// Checks only what would be found too late, or not at all, once threads are being stopped: an io_uring may have a kernel
/// thread that takes no signals, and a process that has lost its main thread never stops. The plan refuses everything else.
std::vector<Refusal> urgent_refusals(const Order &order);

}  // namespace gridcentric::live_clone
