#include "core/guest/clone_handlers.hpp"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include "core/generators/reseed.hpp"
#include "core/guest/client.hpp"
#include "core/guest/library_thread.hpp"
#include "core/guest/machine_page.hpp"

namespace gridcentric::guest {
namespace {

struct State {
  std::mutex lock;  // never held while a handler runs
  std::condition_variable finished;
  std::vector<std::function<void()>> before;  // of before_clone()
  bool preparing = false;                     // they run
  std::vector<std::function<void(int)>> handlers;
  std::atomic<std::uint32_t> seen{machine_generation()};  // the machine for which they run or have run
  std::uint32_t done = machine_generation();              // ... have run
  std::exception_ptr failure;                             // the first one of that run
  std::atomic<bool> watched{false};
};

void forget_watcher();

// Never destroyed: a clone may be made while the process ends.
State &state() {
  static State &instance = []() -> State & {
    auto *made = new State;
    ::pthread_atfork(nullptr, nullptr, forget_watcher);
    return *made;
  }();
  return instance;
}

// In a child of fork(): the thread does not exist here; the next one to come by starts another.
void forget_watcher() { state().watched = false; }

thread_local bool running_handlers = false;

void *watch(void *) {
  for (;;) {
    wait_for_other_machine(state().seen);
    notice_other_machine();
  }
}

void start_watcher() {
  State &s = state();
  if (s.watched.exchange(true)) return;
  pthread_t thread;
  if (start_library_thread(&thread, watch, nullptr) == 0)
    ::pthread_detach(thread);
  else
    s.watched = false;  // without it a clone is noticed at the next call into the library
}

std::vector<std::function<void(int)>> handlers() {
  std::lock_guard guard(state().lock);
  return state().handlers;
}

}  // namespace

void add_before_handler(std::function<void()> handler) {
  State &s = state();
  std::lock_guard guard(s.lock);
  s.before.push_back(std::move(handler));
}

void run_before_handlers() {
  State &s = state();
  std::vector<std::function<void()>> before;
  {
    std::lock_guard guard(s.lock);
    if (s.before.empty()) return;
    if (s.preparing)
      throw Error(
          GC_E_CLONE_FAILED,
          "the handlers of before_clone() run for another clone of this process, maybe one that called this");
    s.preparing = true;
    before = s.before;
  }
  const auto end = [&s] {
    std::lock_guard guard(s.lock);
    s.preparing = false;
  };
  try {
    for (const auto &handler : before) handler();
  } catch (...) {
    end();
    throw;
  }
  end();
}

void add_clone_handler(std::function<void(int)> handler) {
  State &s = state();
  {
    std::lock_guard guard(s.lock);
    s.handlers.push_back(std::move(handler));
  }
  if (in_machine()) start_watcher();
}

void run_clone_handlers(int vmid) {
  for (const auto &handler : handlers()) handler(vmid);
}

void notice_other_machine() noexcept {
  if (!in_machine()) return;
  State &s = state();
  std::uint32_t seen = s.seen.load(std::memory_order_acquire);
  const std::uint32_t now = machine_generation();
  if (seen == now || running_handlers || !s.seen.compare_exchange_strong(seen, now)) return;
  running_handlers = true;
  std::exception_ptr failure;
  generators::reseed_libraries();
  for (const auto &handler : handlers()) {
    try {
      handler(vmid());
    } catch (const std::exception &error) {
      if (!failure) failure = std::current_exception();
      std::fprintf(stderr, "gridcentric: a handler of on_clone() failed: %s\n", error.what());
    } catch (...) {
      if (!failure) failure = std::current_exception();
      std::fprintf(stderr, "gridcentric: a handler of on_clone() failed\n");
    }
  }
  running_handlers = false;
  {
    std::lock_guard guard(s.lock);
    if (now >= s.done) {  // else handlers of a machine before have outlasted those of this one
      s.done = now;
      s.failure = failure;
    }
    if (!s.handlers.empty() && !s.watched) start_watcher();
  }
  s.finished.notify_all();
}

void finish_clone_handlers() {
  if (!in_machine()) return;
  notice_other_machine();
  State &s = state();
  std::unique_lock guard(s.lock);
  s.finished.wait(guard, [&] { return s.done == s.seen; });
  if (s.failure) std::rethrow_exception(std::exchange(s.failure, nullptr));
}

}  // namespace gridcentric::guest
