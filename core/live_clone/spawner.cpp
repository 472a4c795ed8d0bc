// Makes the processes: master -> gc-reaper -> clone, N times, from the caller's thread while all others are parked; of several
// clones the frozen copy is the master (frozen_copy.cpp).
//   1. The starter: a task in the master's memory (CLONE_VM, waited for as with vfork) that makes the N reapers and ends,
//      which orphans them. So the program can never wait() for them and gets no SIGCHLD from them: a task that execs gets
//      exit signal SIGCHLD, whatever it was made with.
//   2. Reaper k: also a task in the master's memory; in pidns mode pid 1 of its own user and pid namespace. It forks the
//      clone (the only copy of the memory that is ever made), then execs gc-reaper, which detaches it from the master's
//      memory and descriptors.
//      In pidns mode a stand-in comes between them, a gc-reaper with the pid of the master's parent, which forks the clone:
//      many programs exit when getppid() changes. If the master's parent is pid 1, so is the clone's, without a stand-in.
//   3. The clone: begins in rebuild_clone() on the copy of the reaper's stack.
// Runs while threads are parked: see sys.hpp.
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <initializer_list>

#include "close_descriptors.hpp"
#include "engine.hpp"
#include "task.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {

/// What starter, reaper and caller know about clone k.
struct Spawned {
  std::atomic<int>
      in_our_memory;  ///< 1 until the reaper has exec'ed or ended; the kernel clears it and wakes waiters
  std::atomic<int> mapping;  ///< pidns: handshake for the id maps, below
  int map_error;             ///< if they were refused
  int proc_pid;              ///< of the reaper, as /proc names it
  char *stack_top;
  std::atomic<int> stand_in_in_our_memory;  ///< likewise for the stand-in
  char *stand_in_stack;                     ///< its lower end
};

namespace {

bool shares_descriptors;  // do the reapers share the master's table?

enum Mapping : int { map_unknown = 0, map_asked, map_written, map_refused };

CloneStatus &status_of(size_t k) { return engine.prepared.status->clones[k]; }

// For a helper, which shares the caller's memory but must not race for engine.result.failure: records it in its clone's status.
void fail_spawn(size_t k, int err, const char *what) {
  CloneStatus &s = status_of(k);
  s.failure.err = err;
  Text text(s.failure.what, sizeof s.failure.what);
  text << what << " (error " << err << ")" << why_no_process(err);
  s.state = state_failed;
  tell_progress();
}

// Returns 0 or the error.
int write_proc(int proc_pid, const char *file, const char *value) {
  const long fd = sys(SYS_openat, AT_FDCWD, Path("/proc/", proc_pid, file).text, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return (int)-fd;
  const long n = sys(SYS_write, fd, value, strlen(value));
  sys(SYS_close, fd);
  return n > 0 ? 0 : (int)-n;
}

// Ids mean the same in the clone as in the master: root maps all of them, other users may map only their own.
int write_id_map(int proc_pid, const char *file, unsigned id) {
  if (engine.prepared.whole_id_map && write_proc(proc_pid, file, "0 0 4294967295") == 0) return 0;
  if (same_text(file, "/gid_map")) write_proc(proc_pid, "/setgroups", "deny");
  char line[64];
  Text(line, sizeof line) << id << " " << id << " 1";
  return write_proc(proc_pid, file, line);
}

// ---- the reaper, until it is gc-reaper

long fork_clone() {
  Thread &leader = *engine.plan.leader;
  const unsigned long flags = CLONE_SETTLS | CLONE_CHILD_CLEARTID;
  if (!engine.pidns()) return arch::raw_fork(flags | SIGCHLD, leader.tid_address, leader.registers.tls);
  int tid = leader.tid;
  CloneArguments a{};
  a.flags = flags;
  a.exit_signal = SIGCHLD;
  a.child_tid = (uint64_t)leader.tid_address;
  a.tls = leader.registers.tls;
  a.set_tid = (uint64_t)&tid;
  a.set_tid_size = 1;
  return sys(SYS_clone3, &a, sizeof a);
}

constexpr int kept_descriptors = 3;

// Leaves the descriptor table, if it is shared with the master, and keeps three descriptors: the lifeline as 0, the binary as
// 1, what a tree's processes share as 2. Returns 0 or the error; on an error, nothing of the master's was changed.
int keep_descriptors(int lifeline, int tree) {
  int wanted[kept_descriptors] = {lifeline, engine.prepared.reaper, tree};
  if (shares_descriptors) {
    unsigned last = 0;
    for (const int fd : wanted)
      if (fd >= (int)last) last = (unsigned)fd + 1;
    const long r = sys(SYS_close_range, last, ~0u, CLOSE_RANGE_UNSHARE);
    if (r < 0) return (int)-r;
  }
  if (const int err = close_all_but(wanted, kept_descriptors)) return err;
  long r = 0;
  for (int &fd : wanted)
    if (r >= 0 && fd >= 0 && fd < kept_descriptors)
      r = fd = (int)sys(SYS_fcntl, fd, F_DUPFD, kept_descriptors);
  for (int k = 0; k < kept_descriptors; k++)
    if (r >= 0 && wanted[k] >= 0) r = sys(SYS_dup3, wanted[k], k, k == 1 ? O_CLOEXEC : 0);
  return r < 0 ? (int)-r : close_descriptors(kept_descriptors, ~0u);
}

// Executes the binary, which is descriptor 1. Returns only on an error, -errno.
long execute(const char *const *argv) {
  const char *envp[] = {nullptr};
  const long r = sys(SYS_execveat, 1, "", argv, envp, AT_EMPTY_PATH);
  // A filter that does not know execveat refuses it; so does Debian 11's kernel (TOMOYO), with ENOENT, without /dev/fd.
  sys(SYS_execve, "/proc/self/fd/1", argv, envp);
  return r;
}

// Becomes gc-reaper, which waits for the child.
[[noreturn]] void watch(size_t k, long child, int lifeline) {
  const int tree = sys(SYS_getpid) == 1 ? engine.prepared.tree_fd : -1;
  char pid_text[24], offset[24];
  Text(pid_text, sizeof pid_text) << child;
  Text(offset, sizeof offset) << (tree >= 0 ? tree::Page::clone_at((int)k) : 0);
  const char *argv[] = {"gc-reaper", pid_text, lifeline >= 0 ? "lifeline" : "free", offset, nullptr};
  const int arranged = keep_descriptors(lifeline, tree);
  const int err = arranged ? arranged : (int)-execute(argv);
  CloneStatus &s = status_of(k);  // until here it was the clone's
  s.failure.err = err;
  Text(s.failure.what, sizeof s.failure.what)
      << (arranged ? "gc-reaper's descriptors can't be arranged with close_range, dup3 and /proc"
                   : "gc-reaper can't be executed with execveat, nor by its name in /proc")
      << " (error " << err << "): does a seccomp filter or a noexec mount forbid it?";
  s.state = state_failed;  // the caller notices when the reaper ends, in a moment
  sys(SYS_kill, child, SIGKILL);
  for (;;) sys(SYS_exit_group, 1);
}

[[noreturn]] void fork_and_watch(size_t k, int lifeline) {
  const int parent = (int)sys(SYS_getpid);
  const long r = fork_clone();
  if (r == 0) rebuild_clone(int(k) + 1, parent);
  if (r < 0) {
    fail_spawn(k, (int)-r, engine.pidns() ? "clone3 can't fork the clone" : "clone can't fork the clone");
    for (;;) sys(SYS_exit_group, 1);
  }
  watch(k, r, lifeline);
}

bool is_mapped(Spawned &me) {
  for (int v = me.mapping; v == map_unknown || v == map_asked; v = me.mapping) futex_wait(me.mapping, v);
  return me.mapping == map_written;
}

// Starts while the ids are being mapped, which takes about as long.
void stand_in_task(void *argument) {
  while (!is_mapped(*static_cast<Spawned *>(argument))) sys(SYS_exit_group, 1);
  fork_and_watch(size_t(static_cast<Spawned *>(argument) - engine.result.spawned), -1);
}

long make_stand_in(Spawned &me) {
  int pid = engine.prepared.parent;
  CloneArguments a{};
  a.flags = CLONE_VM | CLONE_CHILD_CLEARTID | (shares_descriptors ? CLONE_FILES : 0);
  a.exit_signal = SIGCHLD;
  a.child_tid = (uint64_t)&me.stand_in_in_our_memory;
  a.stack = (uint64_t)me.stand_in_stack;
  a.stack_size = helper_stack_size;
  a.set_tid = (uint64_t)&pid;
  a.set_tid_size = 1;
  me.stand_in_in_our_memory = 1;
  const long r = arch::gc_task_clone3(&a, sizeof a, stand_in_task, &me);
  if (r < 0) me.stand_in_in_our_memory = 0;
  return r;
}

void reaper_task(void *argument) {
  Spawned &me = *static_cast<Spawned *>(argument);
  const size_t k = size_t(&me - engine.result.spawned);
  const bool has_stand_in = engine.pidns() && engine.prepared.parent > 1;
  long stand_in = 0;
  if (engine.pidns()) {
    if (has_stand_in) stand_in = make_stand_in(me);
    char self[32] = {};
    sys(SYS_readlinkat, AT_FDCWD, "/proc/self", self, sizeof self - 1);
    unsigned long pid = 0;
    parse_dec(self, &pid);
    me.proc_pid = (int)pid;
    me.mapping = map_asked;
    futex_wake(me.mapping);
    if (!is_mapped(me)) {
      fail_spawn(k, me.map_error, "the user ids can't be mapped into the clone's user namespace");
      for (;;) sys(SYS_exit_group, 1);
    }
  } else {
    // Orphans of the clone go to its reaper. Set before the clone exists, so that its children inherit it.
    sys(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  }
  if (!has_stand_in) fork_and_watch(k, engine.order->lifeline);
  if (stand_in > 0) watch(k, stand_in, engine.order->lifeline);
  fail_spawn(k, (int)-stand_in, "clone3 can't make a process with the pid of the master's parent");
  for (;;) sys(SYS_exit_group, 1);
}

// ---- the starter

// False when its reaper has died, or may not do that.
bool map_ids(Spawned &s, int pidfd) {
  while (s.mapping != map_asked) {
    futex_wait(s.mapping, map_unknown, 50);
    if (has_ended(pidfd)) return false;
  }
  s.map_error = write_id_map(s.proc_pid, "/uid_map", (unsigned)sys(SYS_geteuid));
  if (!s.map_error) s.map_error = write_id_map(s.proc_pid, "/gid_map", (unsigned)sys(SYS_getegid));
  s.mapping = s.map_error ? map_refused : map_written;
  futex_wake(s.mapping);
  return s.map_error == 0;
}

void starter_task(void *) {
  Engine &e = engine;
  // A reaper shares the master's table until its clone has been forked: a copy would keep open what the master closes
  // meanwhile. It gets a copy only if it could not leave the shared table.
  shares_descriptors = sys(SYS_close_range, ~0u, ~0u, 0) == 0;
  unsigned long flags = CLONE_VM | CLONE_PIDFD | CLONE_CHILD_CLEARTID;
  if (shares_descriptors) flags |= CLONE_FILES;
  if (e.pidns()) flags |= CLONE_NEWUSER | CLONE_NEWPID;
  for (int k = e.result.first; k < e.result.last; k++) {
    Spawned &s = e.result.spawned[k];
    s.in_our_memory = 1;
    const long r = arch::gc_task_clone(flags, s.stack_top, &e.result.pidfds[k],
                                       reinterpret_cast<int *>(&s.in_our_memory), 0, reaper_task, &s);
    if (r < 0) {
      s.in_our_memory = 0;
      e.result.pidfds[k] = -1;
      fail_spawn((size_t)k, (int)-r, "clone can't start its reaper");
      break;
    }
    if (e.pidns() && !map_ids(s, e.result.pidfds[k])) break;
    if (tree::whole()) tree::let_join(k, (int)r);
  }
  for (;;) sys(SYS_exit_group, 0);
}

bool prepare() {
  Engine &e = engine;
  const size_t n = (size_t)e.clones();
  e.result.spawned = static_cast<Spawned *>(e.arena.take(n * sizeof(Spawned)));
  auto *stacks = static_cast<char *>(e.arena.take((2 * n + 1) * helper_stack_size));
  if (!e.result.spawned || !stacks) return fail_arena();
  for (size_t k = 0; k < n; k++) {
    e.result.spawned[k].stack_top = stacks + (k + 1) * helper_stack_size;
    e.result.spawned[k].stand_in_stack = stacks + (n + 1 + k) * helper_stack_size;
  }
  return true;
}

char *starter_stack() { return engine.result.spawned[engine.clones() - 1].stack_top + helper_stack_size; }

bool copy_failure(int k) {
  const CloneStatus &s = status_of((size_t)k);
  fail(s.failure.err ? s.failure.err : ECHILD)
      << "clone " << (k + 1) << " of " << engine.clones() << ": " << s.failure.what;
  return false;
}

}  // namespace

void tell_progress() {
  const uint64_t one = 1;
  for (const int fd : {engine.prepared.progress, engine.result.copy_progress})
    if (fd >= 0) sys(SYS_write, fd, &one, 8);
}

bool has_ended(int pidfd) {
  pollfd p{pidfd, POLLIN, 0};
  const timespec now{};
  return pidfd < 0 || sys(SYS_ppoll, &p, 1, &now, nullptr, 8) == 1;
}

const char *why_no_process(int err) {
  switch (err) {
    case EAGAIN:
      return ": the limit of processes (ulimit -u, pids cgroup) is reached";
    case EMFILE:
      return ": the limit of open files (ulimit -n) is reached";
    case ENOMEM:
      return ": not enough memory or overcommit not allowed";
    case EPERM:
    case EACCES:
      return ": not permitted here; use plain mode";
    case ENOSPC:
    case EUSERS:
      return ": too many namespaces or nested too deep; use plain mode";
    default:
      return "";
  }
}

bool take_pidfds() {
  Result &r = engine.result;
  r.pidfds = static_cast<int *>(engine.arena.take((size_t)engine.clones() * sizeof(int)));
  if (!r.pidfds) return fail_arena();
  for (int k = 0; k < engine.clones(); k++) r.pidfds[k] = -1;
  r.last = engine.clones();
  return true;
}

bool spawn_clones() {
  if (!prepare()) return false;
  int status = 0;
  const long r = run_task(starter_stack(), starter_task, nullptr, &status);
  if (r < 0)
    return fail((int)-r) << "can't start a process (error " << -r << ")" << why_no_process((int)-r), false;
  for (int k = engine.result.first; k < engine.result.last; k++)
    if (status_of((size_t)k).state == state_failed) return copy_failure(k);
  if (!WIFEXITED(status)) return fail(ECHILD) << "the process that starts the clones was killed", false;
  return true;
}

bool wait_for_clones(CloneState wanted, int timeout_ms) {
  Engine &e = engine;
  const double deadline = now_ms() + timeout_ms;
  const int first = e.result.first, last = e.result.last;
  // The scratch memory is free by now: what was read into it has been used.
  auto *polled = reinterpret_cast<pollfd *>(e.scratch);
  pollfd &progress = polled[last - first];
  for (;;) {
    size_t missing = 0;
    for (int k = first; k < last; k++) {
      const int state = status_of((size_t)k).state;
      if (state == state_failed) return copy_failure(k);
      missing += state < wanted;
      polled[k - first] = {e.result.pidfds[k], POLLIN, 0};
    }
    if (!missing) return true;
    progress = {e.result.copy_progress >= 0 ? e.result.copy_progress : e.prepared.progress, POLLIN, 0};
    const double left = deadline - now_ms();
    if (timeout_ms >= 0 && left <= 0)
      return fail(ETIMEDOUT) << missing << " of " << e.clones()
                             << " clones did not replace memory and descriptors within " << timeout_ms
                             << " ms while the program was stopped",
             false;
    timespec t{(time_t)(left / 1000), (long)(left * 1e6) % 1000000000L};
    const long r = sys(SYS_ppoll, polled, last - first + 1, timeout_ms < 0 ? nullptr : &t, nullptr, 8);
    if (r < 0 && r != -EINTR) return fail((int)-r) << "waiting for the clones failed", false;
    uint64_t events;
    if (progress.revents) sys(SYS_read, progress.fd, &events, 8);
    for (int k = first; k < last; k++) {
      if (!(polled[k - first].revents & POLLIN) || status_of((size_t)k).state == state_failed) continue;
      return fail(ECHILD) << "clone " << (k + 1) << " of " << e.clones() << " died while it was rebuilt",
             false;
    }
  }
}

void kill_clones() {
  if (engine.result.pidfds) kill_held(engine.result.pidfds, engine.clones());
}

void kill_held(int *pidfds, int count) {
  for (int k = 0; k < count; k++)
    if (pidfds[k] >= 0) sys(SYS_pidfd_send_signal, pidfds[k], SIGKILL, nullptr, 0);
  for (int k = 0; k < count; k++) {
    const int fd = pidfds[k];
    if (fd < 0) continue;
    pollfd p{fd, POLLIN, 0};
    while (sys(SYS_ppoll, &p, 1, nullptr, nullptr, 8) == -EINTR) {
    }
    siginfo_t info;  // orphans come to us only if the master is a subreaper or pid 1
    sys(SYS_waitid, P_PIDFD, fd, &info, WEXITED | WNOHANG | __WALL, nullptr);
    sys(SYS_close, fd);
    pidfds[k] = -1;
  }
}

void wait_for_helpers() {
  constexpr int look_again_ms = 20;
  for (int k = 0; engine.result.spawned && k < engine.clones(); k++) {
    // The kernel wakes the word as a shared futex, so the wait must not be private; ours never is. It neither clears nor
    // wakes it if the reaper was killed while the word's page still had to be copied.
    for (auto *word :
         {&engine.result.spawned[k].in_our_memory, &engine.result.spawned[k].stand_in_in_our_memory})
      for (int v = *word; v != 0 && !has_ended(engine.result.pidfds[k]); v = *word)
        futex_wait(*word, v, look_again_ms);
  }
}

}  // namespace gridcentric::live_clone
