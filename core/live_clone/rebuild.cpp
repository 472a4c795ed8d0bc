// In the clone: from the first instruction after the fork to the moment its threads go on. It runs as the
// only thread of the new process, on the copy of a helper's stack, and makes memory, descriptors, threads,
// timers and locks right; then it waits at the gate. See sys.hpp for what may be used here.
#include <linux/rseq.h>
#include <linux/sched.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine.hpp"
#include "private_files.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {
namespace {

std::atomic<int> held;  // 1: threads that were made again wait

[[noreturn]] void end() {
  for (;;) sys(SYS_exit_group, 125);
}

// Its gc-reaper may have failed meanwhile, and is about to kill us: what it says is not to be lost.
void tell(CloneStatus &s, CloneState state) {
  int before = s.state;
  while (before != state_failed && !s.state.compare_exchange_weak(before, state)) {
  }
  if (before == state_failed) end();
  tell_progress();
  if (!tree::whole()) return;
  tree::page().progress++;
  futex_wake(tree::page().progress);
}

[[noreturn]] void give_up(CloneStatus &s) {
  s.failure = engine.result.failure;
  tell(s, state_failed);
  end();
}

// What the kernel keeps for a thread and a fork or a new thread begins without.
bool restore_kernel_state(const Thread &t) {
  arch::write_thread_registers(t.registers);
  const long robust = t.robust_list ? sys(SYS_set_robust_list, t.robust_list, t.robust_size) : 0;
  if (engine.prepared.libc.rseq_size) {
    auto *area = reinterpret_cast<rseq *>(t.registers.tls + engine.prepared.libc.rseq_offset);
    const size_t size = engine.prepared.libc.rseq_size < 32
                            ? 32
                            : engine.prepared.libc.rseq_size;  // the least the kernel takes
    if (sys(SYS_rseq, area, size, 0, arch::rseq_signature) < 0)
      area->cpu_id = (uint32_t)RSEQ_CPU_ID_REGISTRATION_FAILED;
  }
  if (!(t.alternate_stack.ss_flags & (SS_DISABLE | SS_ONSTACK)))
    sys(SYS_sigaltstack, &t.alternate_stack,
        nullptr);  // those parked in a handler get theirs back when they return
  sys(SYS_prctl, PR_SET_NAME, t.name, 0, 0, 0);
  const Thread &model =
      engine.plan.threads[0];  // the process was forked from there: only what differs is set
  if (t.nice != model.nice) sys(SYS_setpriority, PRIO_PROCESS, 0, t.nice);
  if (t.affinity_bytes > 0 && (t.affinity_bytes != model.affinity_bytes ||
                               memcmp(t.affinity, model.affinity, (size_t)t.affinity_bytes) != 0))
    sys(SYS_sched_setaffinity, 0, t.affinity_bytes, t.affinity);
  if (robust < 0) return fail((int)-robust) << "set_robust_list is refused (error " << -robust << ")", false;
  return true;
}

void resumed_thread(void *argument) {
  const Thread &t = *static_cast<Thread *>(argument);
  restore_kernel_state(t);  // what is refused to one is refused to all: the leader has found out before
  while (held) futex_wait(held, 1);
  arch::gc_context_resume(&t.context);
}

// In pidns mode with the id it had, in plain mode with a new one; both on a small stack until it is back on
// its own.
long make_thread(Thread &t) {
  const unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                              CLONE_SYSVSEM | CLONE_SETTLS | CLONE_CHILD_CLEARTID |
                              (t.id_word ? CLONE_PARENT_SETTID : 0);
  if (!engine.pidns())
    return arch::gc_task_clone(flags, t.stack + sizeof t.stack, t.id_word, t.tid_address, t.registers.tls,
                               resumed_thread, &t);
  CloneArguments a{};
  a.flags = flags;
  a.child_tid = (uint64_t)t.tid_address;
  a.parent_tid = (uint64_t)t.id_word;
  a.tls = t.registers.tls;
  a.stack = (uint64_t)t.stack;
  a.stack_size = sizeof t.stack;
  a.set_tid = (uint64_t)&t.tid;
  a.set_tid_size = 1;
  return arch::gc_task_clone3(&a, sizeof a, resumed_thread, &t);
}

bool make_threads() {
  held = 1;
  engine.plan.leader->new_tid = (int)sys(SYS_gettid);
  if (engine.plan.leader->id_word) *engine.plan.leader->id_word = engine.plan.leader->new_tid;
  for (size_t i = 0; i < engine.plan.thread_count; i++) {
    Thread &t = engine.plan.threads[i];
    if (t.state != thread_parked || &t == engine.plan.leader) continue;
    const long r = make_thread(t);
    if (r < 0) {
      Text text = fail((int)-r);
      text << "thread " << t.tid << " (" << t.name << ") can't be made in the clone (error " << -r << ")";
      if (r == -EAGAIN) text << ": the limit of processes (ulimit -u, pids cgroup) is reached";
      return false;
    }
    t.new_tid = (int)r;
  }
  return true;
}

// The frozen copy has ended: had the master taken over its clones? If not, from here on it will not.
bool is_the_masters() {
  int state = state_detached;
  return !engine.prepared.status->copies[engine.result.copy].state.compare_exchange_strong(state,
                                                                                           state_failed) &&
         state == state_ready;
}

// Opened by commit(), or never: then the master has died or called abort(), and so does the clone.
void wait_at_gate() {
  if (tree::is_member()) return tree::wait_for_commit();
  const StatusPage &status = *engine.prepared.status;
  pollfd p[3] = {{engine.prepared.gate, POLLIN, 0},
                 {engine.prepared.master_pidfd, POLLIN, 0},
                 {engine.result.copy_pidfd, POLLIN, 0}};
  while (!status.committed) {
    if (sys(SYS_ppoll, p, 3, nullptr, nullptr, 8) <= 0 || status.committed) continue;
    if (p[1].revents || (p[2].revents && !is_the_masters())) end();
    if (p[2].revents) p[2].fd = -1;
  }
  if (tree::whole()) tree::open_gate();
}

void close_engine_descriptors() {
  const Engine &e = engine;
  const int own[] = {e.prepared.gate,   e.prepared.progress, e.prepared.master_pidfd,
                     e.prepared.reaper, e.result.copy_pidfd, e.result.copy_progress,
                     e.order->lifeline, e.prepared.tree_fd,  e.prepared.root_pidfd};
  for (int fd : own)
    if (fd >= 0) sys(SYS_close, fd);
  for (const int fd : e.order->private_descriptors)
    if (fd >= 0 && fd != e.order->lifeline) sys(SYS_close, fd);
}

}  // namespace

void rebuild_clone(int index, int parent) {
  Engine &e = engine;
  CloneStatus &s = e.prepared.status->clones[index - 1];
  // To the life of its gc-reaper. A copy that has joined the others will be a child of it, and ends with their namespace.
  const long bound = parent ? sys(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) : 0;
  if (parent && sys(SYS_getppid) != parent) end();  // it had died before
  e.result.index = index;
  e.result.frozen = false;
  int before = state_forking;
  s.state.compare_exchange_strong(before, state_rebuilding);
  e.result.failure.err = 0;
  // Of all clones' reapers that there were when this process was copied, also of later clones: the starter goes on meanwhile.
  for (int k = 0; e.result.pidfds && k < e.clones(); k++)
    if (e.result.pidfds[k] >= 0) sys(SYS_close, e.result.pidfds[k]);
  if (const int socket = e.result.links[e.result.copy].to_master; socket >= 0) sys(SYS_close, socket);
  if (e.order->fail_at == index) {
    fail(ECANCELED) << "told to fail by the test";
    give_up(s);
  }
  if (bound < 0) {
    fail((int)-bound) << "prctl(PR_SET_PDEATHSIG) is refused (error " << -bound << ")";
    give_up(s);
  }
  const double start = now_ms();
  if (tree::whole()) tree::begin_group();
  if (!enter_private_folders() || !rebuild_memory() || !rebuild_private_mappings()) give_up(s);
  const double memory = now_ms();
  if (!rebuild_descriptors()) give_up(s);
  const double descriptors = now_ms();
  s.memory_ms = memory - start;
  s.descriptors_ms = descriptors - memory;
  tell(s, state_detached);
  if (e.from_the_master() && !find_lock_owners(s)) give_up(s);
  const double searched = now_ms();
  if (!restore_kernel_state(*e.plan.leader) || !make_threads() || !complete_descriptors() ||
      !rebuild_timers() || !(e.pidns() || patch_lock_owners()) ||
      (tree::whole() && (!tree::wait_until_whole() || !tree::rebuild_family())))
    give_up(s);
  tree::shut_connections();
  tree::close_offers();
  s.threads_ms = now_ms() - searched;
  tell(s, state_ready);
  wait_at_gate();
  close_engine_descriptors();
  held = 0;
  futex_wake(held);
  arch::gc_context_resume(&e.plan.leader->context);
}

}  // namespace gridcentric::live_clone
