// Does pidns mode work here? Finds out by trying: a task in new user and pid namespaces makes another task with a chosen id.
// Both run in our memory, one after the other, while the caller waits, so they use only raw system calls: see sys.hpp.
#include <linux/sched.h>
#include <sys/wait.h>

#include "engine.hpp"

namespace gridcentric::live_clone {
namespace {

alignas(16) char stacks[2][helper_stack_size];
NamespaceTrial trial;

void leave(void *) {
  for (;;) sys(SYS_exit_group, 0);
}

void first_process(void *) {
  int tid = 4242;
  CloneArguments a{};
  a.flags = CLONE_VM | CLONE_VFORK;
  a.stack = (uint64_t)stacks[1];
  a.stack_size = helper_stack_size;
  a.set_tid = (uint64_t)&tid;
  a.set_tid_size = 1;
  const long r = arch::gc_task_clone3(&a, sizeof a, leave, nullptr);
  trial = r < 0 ? NamespaceTrial{(int)-r, "clone3 with a chosen process id"} : NamespaceTrial{0, ""};
  leave(nullptr);
}

}  // namespace

NamespaceTrial try_namespaces() {
  trial = {ECHILD, "the first process of a pid namespace"};
  unsigned long all = ~0ul, before = 0;
  sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
  const long r =
      arch::gc_task_clone(CLONE_VM | CLONE_VFORK | CLONE_NEWUSER | CLONE_NEWPID,
                          stacks[0] + helper_stack_size, nullptr, nullptr, 0, first_process, nullptr);
  if (r < 0) {
    trial = {(int)-r, "a user and pid namespace"};
  } else {
    int status;
    while (sys(SYS_wait4, r, &status, __WALL, nullptr) == -EINTR) {
    }
  }
  sys(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, 8);
  return trial;
}

}  // namespace gridcentric::live_clone
