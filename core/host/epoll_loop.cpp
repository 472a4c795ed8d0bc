#include "core/host/epoll_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace gridcentric::host {
namespace {

constexpr int events_a_turn = 256;

std::uint64_t pack(int fd, std::uint64_t generation) {
  return generation << 32 | static_cast<std::uint32_t>(fd);
}

}  // namespace

EpollLoop::EpollLoop(bool virtual_clock) : virtual_(virtual_clock) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll_ < 0 || wake_ < 0) {
    failure_ = std::string("cannot make the event loop: ") + std::strerror(errno);
    return;
  }
  watch(wake_, [this] {
    std::uint64_t count;
    // Nothing to read is fine: run_posted() may have been called since.
    [[maybe_unused]] const auto size = read(wake_, &count, sizeof count);
    run_posted();
  });
}

EpollLoop::~EpollLoop() {
  if (wake_ >= 0) close(wake_);
  if (epoll_ >= 0) close(epoll_);
}

std::int64_t EpollLoop::real_now_ms() const {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

std::int64_t EpollLoop::now_ms() const { return virtual_ ? virtual_now_ : real_now_ms(); }

std::uint64_t EpollLoop::call_at(std::int64_t when_ms, std::function<void()> work) {
  return timers_.add(when_ms, std::move(work));
}

void EpollLoop::cancel(std::uint64_t id) { timers_.cancel(id); }

std::uint64_t EpollLoop::call_after_real(std::int64_t ms, std::function<void()> work) {
  return real_timers_.add(real_now_ms() + ms, std::move(work));
}

void EpollLoop::cancel_real(std::uint64_t id) { real_timers_.cancel(id); }

void EpollLoop::watch(int fd, std::function<void()> work) {
  watch_events(fd, EPOLLIN, [work = std::move(work)](std::uint32_t) { work(); });
}

void EpollLoop::watch_events(int fd, std::uint32_t events, std::function<void(std::uint32_t)> work) {
  const bool known = watches_.contains(fd);
  auto watch = std::make_shared<Watch>(Watch{++last_generation_, std::move(work)});
  epoll_event event{};
  event.events = events;
  event.data.u64 = pack(fd, watch->generation);
  watches_[fd] = std::move(watch);
  epoll_ctl(epoll_, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
}

void EpollLoop::change_events(int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = pack(fd, watches_.at(fd)->generation);
  epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
}

void EpollLoop::unwatch(int fd) {
  if (watches_.erase(fd) > 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

void EpollLoop::post(std::function<void()> work) {
  // The lock is held until the loop is woken: whoever finds the work may end the loop, and close wake_ with it.
  const std::lock_guard lock(mutex_);
  posted_.push_back(std::move(work));
  if (posted_.size() > 1) return;  // whoever posted the first has woken the loop
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto size = write(wake_, &one, sizeof one);  // full: it is awake anyway
}

bool EpollLoop::run_posted() {
  bool any = false;
  for (;;) {
    std::vector<std::function<void()>> work;
    {
      const std::lock_guard lock(mutex_);
      work.swap(posted_);
    }
    if (work.empty()) return any;
    any = true;
    for (auto &item : work) item();
  }
}

int EpollLoop::wait_ms() const {
  std::optional<std::int64_t> next = real_timers_.next();
  if (!virtual_ && timers_.next() && (!next || *timers_.next() < *next)) next = timers_.next();
  if (!next) return -1;
  return static_cast<int>(std::clamp<std::int64_t>(*next - real_now_ms(), 0, 3'600'000));
}

void EpollLoop::run(const std::function<void()> &after_each) {
  std::vector<epoll_event> events(events_a_turn);
  after_each();
  while (!stopped_) {
    const int count = epoll_wait(epoll_, events.data(), events_a_turn, wait_ms());
    for (int i = 0; i < count; ++i) {
      const int fd = static_cast<int>(events[static_cast<std::size_t>(i)].data.u64 & 0xffffffff);
      const auto found = watches_.find(fd);
      if (found == watches_.end() ||
          pack(fd, found->second->generation) != events[static_cast<std::size_t>(i)].data.u64)
        continue;
      const std::shared_ptr<Watch> watch = found->second;  // its work may unwatch it
      watch->work(events[static_cast<std::size_t>(i)].events);
    }
    while (auto work = real_timers_.take_due(real_now_ms())) work();
    if (!virtual_)
      while (auto work = timers_.take_due(real_now_ms())) work();
    after_each();
  }
}

}  // namespace gridcentric::host
