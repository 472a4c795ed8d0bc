// What a thread was waiting in when it was stopped, and until when: a clone must not be noticed by a program's waits. Knows
// system calls; knows nothing of how threads are stopped (parker.cpp).
#pragma once

#include <cstdint>

#include "arch.hpp"

namespace gridcentric::live_clone {

/// The scheduler counts time for each processor, with a lag of its own behind (or ahead of) CLOCK_MONOTONIC.
struct SchedulerClock {
  bool known;
  int processor;
  int64_t ahead;  ///< nanoseconds
};

/// Times are nanoseconds of CLOCK_MONOTONIC but for `asleep_since`.
struct Wait {
  arch::WaitingCall call;
  bool interrupted;      ///< the signal did that to `call`, whose result would be EINTR
  bool made_again;       ///< the frame makes it again, just as it was
  bool rest_is_told;     ///< `limit` is what the kernel has said is left
  int64_t limit;         ///< negative: none, or the call can be made again as it was
  int64_t original;      ///< of a rest that is told: what it was of
  int64_t asleep_since;  ///< by the scheduler's clock; negative: not known
  int processor;         ///< on which it fell asleep
  long sleeps;           ///< of its thread until then: has it waked up meanwhile?
  int64_t stopped_at;
  SchedulerClock clock;  ///< of a processor, as the thread found it when it was stopped
  int64_t deadline;
};

}  // namespace gridcentric::live_clone
