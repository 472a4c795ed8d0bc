// When memory is moved into huge pages (huge_pages.hpp): in prepare(), and with GRIDCENTRIC_PREPARE=1 in a thread, from a ticket's
// grant until it is released or a cloning begins. Never while the process is copied: the copy would wait for it.
// It must not know: hosts, how a process is copied.
#pragma once
#include <mutex>
#include <string>

namespace gridcentric::guest {

// With GRIDCENTRIC_PREPARE=1. The thread ends when it is done, after ten seconds, or when the computer is too busy for it.
void prepare_for(const std::string &ticket) noexcept;
// The ticket has been released: without another one, the thread has ended when this returns.
void prepare_no_longer_for(const std::string &ticket) noexcept;

// While it lives nothing is moved; prepare() in another thread then returns, and the thread has ended.
class NotPreparing {
 public:
  NotPreparing();
  ~NotPreparing();
  NotPreparing(const NotPreparing &) = delete;
  NotPreparing &operator=(const NotPreparing &) = delete;

 private:
  std::unique_lock<std::mutex> no_thread_, no_step_;
};

}  // namespace gridcentric::guest
