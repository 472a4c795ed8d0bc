// The event loop of the host: one thread, epoll. Two clocks: the one drivers see (virtual when tests drive
// it) and the real one. Knows nothing of guests.
#pragma once
#include <gridcentric/hypervisor.hpp>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/host/timers.hpp"

namespace gridcentric::host {

class EpollLoop final : public Loop {
 public:
  explicit EpollLoop(bool virtual_clock);
  ~EpollLoop() override;
  EpollLoop(const EpollLoop &) = delete;
  EpollLoop &operator=(const EpollLoop &) = delete;

  // "" or why it could not be made (descriptors have run out).
  const std::string &failure() const { return failure_; }

  // Loop
  std::int64_t now_ms() const override;
  std::uint64_t call_at(std::int64_t when_ms, std::function<void()> work) override;
  void cancel(std::uint64_t id) override;
  void watch(int fd, std::function<void()> work) override;
  void unwatch(int fd) override;
  void post(std::function<void()> work) override;

  // Like watch(), for the events that `events` names (EPOLLIN, EPOLLOUT); watch_events() again changes them.
  void watch_events(int fd, std::uint32_t events, std::function<void(std::uint32_t)> work);
  void change_events(int fd, std::uint32_t events);

  std::size_t watched() const { return watches_.size(); }

  // Real time, whatever the clock.
  std::int64_t real_now_ms() const;
  std::uint64_t call_after_real(std::int64_t ms, std::function<void()> work);
  void cancel_real(std::uint64_t id);

  // The virtual clock.
  bool is_virtual() const { return virtual_; }
  void set_virtual_now(std::int64_t now_ms) { virtual_now_ = now_ms; }
  Timers &timers() { return timers_; }

  // Runs what was posted, also what that posts; false when there was nothing.
  bool run_posted();
  // Until stop(). after_each runs when the events of a turn are done, before the loop waits again.
  void run(const std::function<void()> &after_each);
  void stop() { stopped_ = true; }

 private:
  struct Watch {
    std::uint64_t generation;  // tells a new watch of a descriptor from an event of its predecessor
    std::function<void(std::uint32_t)> work;
  };

  int wait_ms() const;

  bool virtual_;
  bool stopped_ = false;
  std::int64_t virtual_now_ = 0;
  int epoll_ = -1;
  int wake_ = -1;
  std::string failure_;
  std::uint32_t last_generation_ = 0;
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  Timers timers_;
  Timers real_timers_;
  std::mutex mutex_;  // of posted_
  std::vector<std::function<void()>> posted_;
};

}  // namespace gridcentric::host
