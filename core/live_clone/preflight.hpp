// Inside the engine: the part of the preflight that every clone() runs, and the preflight of one process of several.
#pragma once

#include <unistd.h>

#include <string>

#include "live_clone.hpp"
#include "preflight_open_files.hpp"

namespace gridcentric::live_clone {

/// Checks only what would be found too late, or not at all, once threads are being stopped: an io_uring may have a kernel
/// thread that takes no signals, and a process that has lost its main thread never stops. The plan refuses everything else.
std::vector<Refusal> urgent_refusals(const Order &order);

/// A process that is to be examined.
struct Examined {
  std::string proc;  ///< its folder in /proc
  int pid;           ///< as this process has to call it: /proc may belong to an outer namespace
  bool self;
};
inline Examined this_process() { return {"/proc/self", getpid(), true}; }

/// What preflight() and preflight_of() are made of.
Preflight examine(const Examined &process, Mode mode, const Surroundings &around);

}  // namespace gridcentric::live_clone
