// Below the root: the frozen copy of this process, which makes its copies in the clones while the program goes on, as that of the root
// does (../frozen_copy.cpp). What is shared between processes the frozen copies share, too: they make it anew among themselves as
// those of a clone do (objects.cpp). None is a child of the program's, which so can't wait for it: the task that makes it ends.
#include <sys/prctl.h>

#include "../descriptor.hpp"
#include "../task.hpp"
#include "process_facts.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone::tree {
namespace {

bool detach_and_join() {
  if (!rebuild_memory() || !freeze_descriptors()) return false;
  report(frozen);
  if (!wait_until_all_are_frozen()) return false;
  begin_rebuilding_anew();
  return join_clones();
}

[[noreturn]] void be_frozen() {
  engine.result.frozen = true;
  let_others_take();
  if (!detach_and_join() && page().phase != given_up) fail_to_root();
  for (;;) sys(SYS_exit_group, 0);
}

void fork_frozen(void *pid) {
  const long made = arch::raw_fork(0, nullptr, engine.plan.threads[0].registers.tls);
  if (made == 0) be_frozen();
  *static_cast<long *>(pid) = made;
  for (;;) sys(SYS_exit_group, 0);
}

}  // namespace

// Yama lets only ancestors take descriptors, unless a process says otherwise.
void let_others_take() {
  self().frozen_pid = (int)sys(SYS_getpid);
  sys(SYS_prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
}

bool wait_until_all_are_frozen() {
  for (int phase; (phase = page().phase) < released;)
    if (!wait_for_word(page().phase, phase, now_ms() + offer_timeout_ms)) break;
  close_offers();
  return page().phase == released;
}

bool make_frozen_member() {
  auto *stack = static_cast<char *>(engine.arena.take(helper_stack_size));
  if (!stack) return fail_arena();
  long pid = 0;
  const long helper = run_task(stack + helper_stack_size, fork_frozen, &pid);
  const long failed = helper < 0 ? helper : pid < 0 ? pid : 0;
  if (failed)
    return fail((int)-failed) << "can't copy it (error " << -failed << ")" << why_no_process((int)-failed),
           false;
  self().frozen_proc_pid = pid ? proc_pid_of((int)pid) : 0;
  return self().frozen_proc_pid || self().state > planned ||
         (fail(ECHILD) << "the copy of it from which the clones are made has died (out of memory?)", false);
}

}  // namespace gridcentric::live_clone::tree
