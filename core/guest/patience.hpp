// How long a call waits for a host that says nothing. The host keeps a call's time, by its own clock; a guest steps in only when the
// time is over for a second and more and the host does not answer anybody: it is stopped.
// It must not know: calls, connections.
#pragma once
#include <algorithm>
#include <chrono>

namespace gridcentric::guest {

class Patience {
 public:
  // timeout: of the call, in milliseconds; negative: for ever.
  explicit Patience(int timeout)
      : timeout_(timeout), end_(Clock::now() + std::chrono::milliseconds(timeout) + grace) {}

  int timeout() const { return timeout_; }
  bool is_endless() const { return timeout_ < 0; }
  // Until it is worth asking whether the host answers at all; -1: for ever.
  int left_ms() const {
    using namespace std::chrono;
    if (is_endless()) return -1;
    return static_cast<int>(
        std::clamp<long long>(duration_cast<milliseconds>(end_ - Clock::now()).count(), 0, 1 << 30));
  }
  // The host does answer, so that the call's time is its business: its clock may be that of a test.
  void renew() { end_ = Clock::now() + grace; }

  static constexpr int answer_ms = 3'000;  // a host that takes longer to greet does not answer

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds grace{1'000};

  int timeout_;
  Clock::time_point end_;
};

}  // namespace gridcentric::guest
