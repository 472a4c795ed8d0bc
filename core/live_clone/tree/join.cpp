// Below the root: this process, or its frozen copy, copies itself into the namespaces of every clone, which the root's spawner
// has made. By trial (setns(2), clone(2)): a helper that shares the memory but is a process of its own enters the clone's user
// namespace and then its pid namespace, in which its children will be; its child, which shares the memory too, forks the copy
// with the pid that this process has, and ends, so that the copy becomes a child of the clone's pid 1.
#include <linux/sched.h>

#include "../descriptor.hpp"
#include "../task.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone::tree {
namespace {

struct Joining {
  int clone;  ///< from 0 on
  char *inner_stack_top;
  long pid;  ///< of the copy, or -errno
  const char *step;
};

void fork_copy(void *argument) {
  auto &joining = *static_cast<Joining *>(argument);
  Thread &leader = *engine.plan.leader;
  int tid = leader.tid;
  CloneArguments a{};
  a.flags = CLONE_SETTLS | CLONE_CHILD_CLEARTID;
  a.exit_signal = SIGCHLD;
  a.child_tid = (uint64_t)leader.tid_address;
  a.tls = leader.registers.tls;
  a.set_tid = (uint64_t)&tid;
  a.set_tid_size = 1;
  const long r = sys(SYS_clone3, &a, sizeof a);
  if (r == 0) rebuild_clone(joining.clone + 1, 0);
  joining.pid = r;
  for (;;) sys(SYS_exit_group, 0);
}

// Returns -errno, with the step, or 0.
long enter(Joining &joining) {
  const long pidfd = sys(SYS_pidfd_open, (int)page().clone(joining.clone).reaper, 0);
  joining.step = "pidfd_open";
  if (pidfd < 0) return pidfd;
  joining.step = "setns into its user namespace";
  long r = sys(SYS_setns, pidfd, CLONE_NEWUSER);
  if (r >= 0) {
    joining.step = "setns into its pid namespace";
    r = sys(SYS_setns, pidfd, CLONE_NEWPID);
  }
  sys(SYS_close, pidfd);
  return r < 0 ? r : 0;
}

void enter_and_fork(void *argument) {
  auto &joining = *static_cast<Joining *>(argument);
  joining.pid = enter(joining);
  if (joining.pid == 0) {
    joining.step = "clone3 with its pid";
    const long inner = run_task(joining.inner_stack_top, fork_copy, &joining);
    if (inner < 0) joining.pid = inner;
  }
  for (;;) sys(SYS_exit_group, 0);
}

}  // namespace

void let_join(int clone, int reaper) {
  page().clone(clone).reaper = reaper;
  futex_wake(page().clone(clone).reaper);
}

bool join_clones() {
  auto *stacks = static_cast<char *>(engine.arena.take(2 * helper_stack_size));
  if (!stacks) return fail_arena();
  for (int k = 0; k < engine.clones(); k++) {
    const std::atomic<int> &reaper = page().clone(k).reaper;
    while (!reaper) {
      if (has_root_gone()) return fail(ECANCELED) << "the program gave up cloning", false;
      futex_wait(reaper, 0, look_again_ms);
    }
    Joining joining{k, stacks + helper_stack_size, 0, ""};
    const long helper = run_task(stacks + 2 * helper_stack_size, enter_and_fork, &joining);
    if (helper < 0)
      return fail((int)-helper) << "can't start a process (error " << -helper << ")"
                                << why_no_process((int)-helper),
             false;
    if (!joining.pid) return fail(ECHILD) << "the process that copies it was killed", false;
    if (joining.pid < 0)
      return fail((int)-joining.pid) << "it can't be copied into clone " << (k + 1) << ": " << joining.step
                                     << " is refused (error " << -joining.pid << ")"
                                     << why_no_process((int)-joining.pid),
             false;
  }
  report(joined);
  return true;
}

}  // namespace gridcentric::live_clone::tree
