#include "core/guest/preparing.hpp"

#include <poll.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <set>
#include <string_view>

#include "core/guest/attach.hpp"
#include "core/guest/client.hpp"
#include "core/guest/huge_pages.hpp"
#include "core/guest/library_thread.hpp"
#include "core/guest/machine_page.hpp"

namespace gridcentric::guest {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A step holds the kernel's lock of the mappings: while it lasts no thread of the program can map memory. It needs about 1 ms of CPU.
// So the thread has the priority of the program, as one of the lowest priority would lose the CPU in the middle of a step and keep the
// program waiting for seconds on a busy computer. Instead it rests three times as long as each step took, and ends when one took
// this long.
constexpr milliseconds longest_step{50};
constexpr int rests = 3;
constexpr milliseconds longest_work{10'000};
constexpr milliseconds between_looks{250};

struct Thread {
  pthread_t id{};
  Call call;  // cancelled: it is to end
  std::atomic<bool> at_work{true};
};

struct Preparing {
  std::mutex lock;  // for the thread and its tickets
  std::unique_ptr<Thread> thread;
  std::set<std::string> tickets;
  std::mutex step;                    // held during each step
  std::atomic<unsigned> clonings{0};  // one more: what is under way ends
};

// Never destroyed: the thread may be at work while the process ends. A child of fork() begins with a new state: the thread
// does not exist there, nor does whoever holds the locks.
std::atomic<Preparing *> state;

void begin_anew() { state = new Preparing; }

Preparing &preparing() {
  static const bool begun = [] {
    begin_anew();
    return ::pthread_atfork(nullptr, nullptr, begin_anew) == 0;
  }();
  static_cast<void>(begun);
  return *state;
}

// False: a cloning has begun.
bool take_step(MoveIntoHugePages &walk, unsigned clonings, bool *left) {
  Preparing &s = preparing();
  const std::lock_guard turn(s.step);
  if (s.clonings != clonings) return false;
  *left = walk.step();
  return true;
}

void work(Thread &self) {
  const unsigned clonings = preparing().clonings;
  const auto end = Clock::now() + longest_work;
  MoveIntoHugePages walk;
  for (bool left = true; left && !self.call.cancelled();) {
    const auto start = Clock::now();
    if (!take_step(walk, clonings, &left)) return;
    const auto took = Clock::now() - start;
    if (took > longest_step || start > end) return;
    const auto rest = std::chrono::duration_cast<milliseconds>(rests * took);
    if (rest.count() == 0) continue;
    pollfd cancelled{self.call.wakeup_fd(), POLLIN, 0};
    ::poll(&cancelled, 1, static_cast<int>(rest.count()));
  }
}

void *run(void *given) {
  ::pthread_setname_np(::pthread_self(), "gc-prepare");
  auto &self = *static_cast<Thread *>(given);
  work(self);
  self.at_work = false;
  return nullptr;
}

// With the lock held.
void end_thread() {
  auto &thread = preparing().thread;
  if (!thread) return;
  thread->call.cancel();
  ::pthread_join(thread->id, nullptr);
  thread.reset();
}

// With the lock held. Without a thread the clone takes longer, and that is all.
void start_thread() {
  auto thread = std::make_unique<Thread>();
  if (start_library_thread(&thread->id, run, thread.get()) == 0) preparing().thread = std::move(thread);
}

// Not in a VM, which its hypervisor copies, and not in the gc command, which is not what is copied.
bool is_of_use() { return !in_machine() && !only_asks(); }

bool wanted() {
  const char *told = std::getenv("GRIDCENTRIC_PREPARE");
  return told != nullptr && std::string_view(told) == "1" && is_of_use();
}

// Is the call to be taken back? Asks its hook, which may throw, now and then.
bool taken_back(Call *call, Clock::time_point *looked) {
  if (call == nullptr) return false;
  if (call->cancelled()) return true;
  if (!call->on_wait_interrupted || Clock::now() - *looked < between_looks) return false;
  *looked = Clock::now();
  return call->on_wait_interrupted();
}

}  // namespace

// The ticket has been granted: a failure here must not lose it.
void prepare_for(const std::string &ticket) noexcept try {
  if (!wanted()) return;
  Preparing &s = preparing();
  const std::lock_guard guard(s.lock);
  s.tickets.insert(ticket);
  if (s.thread && s.thread->at_work) return;
  end_thread();
  start_thread();
} catch (...) {
}

void prepare_no_longer_for(const std::string &ticket) noexcept {
  if (!wanted()) return;
  Preparing &s = preparing();
  const std::lock_guard guard(s.lock);
  if (s.tickets.erase(ticket) > 0 && s.tickets.empty()) end_thread();
}

NotPreparing::NotPreparing() : no_thread_(preparing().lock), no_step_(preparing().step, std::defer_lock) {
  ++preparing().clonings;
  preparing().tickets.clear();
  end_thread();
  no_step_.lock();
}

NotPreparing::~NotPreparing() = default;

int prepare(int timeout, Call *call) {
  if (!is_of_use()) return 0;
  const unsigned clonings = preparing().clonings;
  const auto end = Clock::now() + milliseconds(timeout);
  auto looked = Clock::now();
  MoveIntoHugePages walk;
  for (bool left = true; left && (timeout < 0 || Clock::now() < end);) {
    if (taken_back(call, &looked))
      throw Error(error_cancelled, "the call was cancelled; what is in huge pages stays there");
    if (!take_step(walk, clonings, &left)) break;
  }
  return static_cast<int>(walk.count() * (huge_page_size >> 20));
}

}  // namespace gridcentric::guest
