// What a thread was waiting in when it was stopped, and until when: a program's waits must not notice a clone. Knows system
// calls; does not know how threads are stopped (parker.cpp).
#pragma once

#include <cstdint>

#include "arch.hpp"

namespace gridcentric::live_clone {

/// The scheduler's clock of a processor; each is behind (or ahead of) CLOCK_MONOTONIC by a different amount.
struct SchedulerClock {
  bool known;
  int processor;
  int64_t ahead;  ///< nanoseconds
};

/// Times are nanoseconds of CLOCK_MONOTONIC, except `asleep_since`.
struct Wait {
  arch::WaitingCall call;
  bool interrupted;      ///< the signal interrupted `call`, whose result would be EINTR
  bool made_again;       ///< the frame repeats the call unchanged
  bool rest_is_told;     ///< `limit` is the rest that the kernel has written back
  int64_t limit;         ///< negative: none, or the call can be repeated unchanged
  int64_t original;      ///< if rest_is_told: the limit that it is the rest of
  int64_t asleep_since;  ///< by the scheduler's clock; negative: unknown
  int processor;         ///< where it fell asleep
  long sleeps;           ///< how often its thread had slept by then: has it woken up meanwhile?
  int64_t stopped_at;
  SchedulerClock clock;  ///< of the processor that the thread was stopped on
  int64_t deadline;
};

}  // namespace gridcentric::live_clone
