// sigaltstack(), as the program's calls come here first: notes when two threads have one alternate stack. Varnish's all have the
// same, as the handler for which it is there ends the process anyway; the signal that parks threads would write over one thread's
// state with another's there, and so is taken on the threads' own stacks from then on.
// It must not know: how threads are parked.
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "core/live_clone/live_clone.hpp"

namespace gridcentric::preload {
namespace {

// Of more threads at a time nothing is noted.
constexpr int most = 4096;

struct {
  std::atomic<int> thread;
  std::atomic<void *> stack;
} known[most];

bool is_there(int thread) { return ::syscall(SYS_tgkill, ::getpid(), thread, 0) == 0; }

int own_place() {
  const int me = static_cast<int>(::syscall(SYS_gettid));
  for (int i = 0; i < most; ++i) {
    int thread = known[i].thread;
    if (thread == me || (thread == 0 && known[i].thread.compare_exchange_strong(thread, me))) return i;
  }
  for (int i = 0; i < most; ++i) {
    int thread = known[i].thread;
    if (!is_there(thread) && known[i].thread.compare_exchange_strong(thread, me)) return i;
  }
  return -1;
}

// Each says what it has before it looks at the others: of two at once, one sees the other.
void compare_with_others(int own, void *stack) {
  known[own].stack = stack;
  for (int i = 0; stack != nullptr && i < most && known[i].thread != 0; ++i)
    if (i != own && known[i].stack == stack && is_there(known[i].thread))
      live_clone::take_signal_on_own_stacks();
}

void note(void *stack) {
  const int saved = errno, own = own_place();
  if (own >= 0) compare_with_others(own, stack);
  errno = saved;
}

}  // namespace
}  // namespace gridcentric::preload

extern "C" __attribute__((visibility("default"))) int sigaltstack(const stack_t *wanted,
                                                                  stack_t *before) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_sigaltstack, wanted, before));
  if (result == 0 && wanted != nullptr)
    gridcentric::preload::note((wanted->ss_flags & SS_DISABLE) != 0 ? nullptr : wanted->ss_sp);
  return result;
}
