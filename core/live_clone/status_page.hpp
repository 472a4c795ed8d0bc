// The page that master and clones share while clones are made: the state of each clone, and what went wrong. One MAP_SHARED
// mapping per order, unmapped by both sides when the call is over.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace gridcentric::live_clone {

enum CloneState : int {
  state_forking = 0,  ///< its reaper or the clone itself is being made
  state_rebuilding,   ///< it exists and replaces memory and descriptors
  state_detached,     ///< it no longer needs the parked master, whose threads may go on
  state_ready,        ///< threads rebuilt, held at the gate
  state_failed,
};

/// The size of a line for people, including its NUL.
inline constexpr size_t text_size = 512;

struct FailureText {
  int err;
  char what[text_size];
};

struct CloneStatus {
  std::atomic<int> state;
  FailureText failure;
  double memory_ms, descriptors_ms, locks_ms, threads_ms;
};

/// Of one program, frozen to make clones of it side by side (frozen_copy.cpp).
inline constexpr int most_copies = 8;

struct StatusPage {
  std::atomic<int> committed;       ///< 1: the gate is open, held clones go on
  int copy_pids[most_copies];       ///< of the frozen copies; 0: there is none
  CloneStatus copies[most_copies];  ///< ready: the master has all clones, and needs no copy more
  CloneStatus clones[];             ///< [k - 1] is clone k

  static size_t size_for(size_t clones) {
    return (sizeof(StatusPage) + clones * sizeof(CloneStatus) + 4095) & ~size_t(4095);
  }
};

}  // namespace gridcentric::live_clone
