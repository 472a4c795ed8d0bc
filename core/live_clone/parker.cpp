// Stops all threads of the process at points from which each can go on, here and in a clone. Every thread but the caller
// gets signal 33, which C libraries never let programs block; its handler records the thread's properties
// (describe_thread), saves its context and waits. The system call that the signal interrupts goes on afterwards
// (waits.cpp). Runs while threads are parked: see sys.hpp.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "engine.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr unsigned long cookie_magic = 0x6763UL << 48;

struct KernelAction {
  void *handler;
  unsigned long flags;
  void *restorer;
  unsigned long mask;
};

KernelAction previous_action;         // of signal 33, for signals that are not ours
std::atomic<bool> on_own_stacks;      // no alternate ones
std::atomic<unsigned> generation{1};  // of park_threads(): tells late signals of an earlier one
std::atomic<unsigned> released;       // the generation that was let go last
std::atomic<int> parked;              // threads that have arrived
std::atomic<int> inside;              // handlers that may touch the arena

unsigned short_generation() { return generation & 0xffff; }

unsigned long cookie(size_t slot) {
  return cookie_magic | (unsigned long)short_generation() << 32 | (unsigned long)slot;
}

void stay_parked(Thread &me, unsigned mine) {
  if (arch::gc_context_save(&me.context) != 0) return;  // in a clone
  me.state = thread_parked;
  parked++;
  futex_wake(parked);
  for (unsigned v = released; v != mine; v = released) sys(SYS_futex, &released, FUTEX_WAIT, v, nullptr);
}

void on_park_signal(int signal, siginfo_t *info, void *context) {
  const unsigned long value = (unsigned long)info->si_value.sival_ptr;
  const bool ours =
      info->si_code == SI_QUEUE && info->si_pid == sys(SYS_getpid) && value >> 48 == cookie_magic >> 48;
  if (!ours) {
    if (tree::on_signal(info, static_cast<ucontext_t *>(context))) return;
    void *h = previous_action.handler;
    if (h != (void *)SIG_DFL && h != (void *)SIG_IGN)
      ((void (*)(int, siginfo_t *, void *))h)(signal, info, context);
    return;
  }
  // The thread that unmaps the arena first changes the generation, then waits until no handler is inside.
  inside++;
  auto *frame = static_cast<ucontext_t *>(context);
  const size_t slot = value & 0xffffffff;
  const unsigned mine = value >> 32 & 0xffff;
  Wait wait{};  // for a thread that is too late to have its own entry
  bool in_clone = false;
  Thread *me = mine == short_generation() ? &engine.plan.threads[slot] : nullptr;
  if (me && me->tid == sys(SYS_gettid) && me->state == thread_signalled) {
    describe_thread(*me);
    me->frame = frame;
    note_interruption(me->wait, frame);
    stay_parked(*me, mine);
    wait = me->wait;
    in_clone = engine.result.index > 0;
  } else {
    note_interruption(wait, frame);
  }
  inside--;
  futex_wake(inside);
  go_on_waiting(wait, frame, in_clone);  // nothing of the engine's is looked at from here on
}

// Inside a clone /proc shows the ids of an outer namespace; the last number of NSpid is the thread's id in ours.
int own_tid(int proc_tid) {
  char *text = engine.scratch;
  if (read_file(Path("/proc/self/task/", proc_tid, "/status"), text, 8192) <= 0) return -1;
  const char *p = field(text, "NSpid:");
  unsigned long v = 0;
  while (p && *p && *p != '\n') {
    if (*p >= '0' && *p <= '9')
      p = parse_dec(p, &v);
    else
      p++;
  }
  return v ? (int)v : -1;
}

bool send_signal(Thread &t, size_t slot) {
  siginfo_t info{};
  info.si_signo = park_signal;
  info.si_code = SI_QUEUE;
  info.si_pid = engine.prepared.pid;
  info.si_uid = (uid_t)sys(SYS_getuid);
  info.si_value.sival_ptr = (void *)cookie(slot);
  const long r = sys(SYS_rt_tgsigqueueinfo, engine.prepared.pid, t.tid, park_signal, &info);
  if (r == -ESRCH) {
    t.state = thread_gone;
    return true;
  }
  if (r == -EAGAIN)
    return fail(EAGAIN) << "the limit of pending signals (ulimit -i) is too low to stop all threads", false;
  if (r < 0)
    return fail((int)-r) << "thread " << t.tid << " can't be stopped: rt_tgsigqueueinfo is refused (error "
                         << -r << ")",
           false;
  return true;
}

// Ids are found by hashing: a process may have thousands of threads.
struct TidIndex {
  int *slots = nullptr;  // slot + 1, 0: empty
  size_t mask = 0;

  bool prepare(Arena &arena, size_t capacity) {
    size_t n = 64;
    while (n < capacity * 2) n *= 2;
    slots = static_cast<int *>(arena.take(n * sizeof(int)));
    mask = n - 1;
    return slots != nullptr;
  }
  void put(int key, int slot) {
    size_t i = (unsigned)key * 2654435761u & mask;
    while (slots[i]) i = (i + 1) & mask;
    slots[i] = slot + 1;
  }
  // The newest entry wins: a thread id may come back after its thread is gone.
  template <typename Key>
  Thread *find(int key, Key of) {
    Thread *found = nullptr;
    if (!slots) return nullptr;
    for (size_t i = (unsigned)key * 2654435761u & mask; slots[i]; i = (i + 1) & mask) {
      Thread &t = engine.plan.threads[slots[i] - 1];
      if (of(t) == key && t.state != thread_gone) found = &t;
    }
    return found;
  }
};
TidIndex by_tid, by_proc_tid;

struct Pass {
  size_t seen = 0, fresh = 0, running = 0, listed = 0;
  bool complete() const { return !fresh && !running && seen == listed; }
};

bool add_thread(int proc_tid, int tid) {
  if (engine.plan.thread_count == engine.plan.thread_capacity) return fail_arena();
  const size_t slot = engine.plan.thread_count++;
  Thread &t = engine.plan.threads[slot];  // fresh pages of the arena: zero
  t.proc_tid = proc_tid;
  t.tid = tid;
  t.state = thread_signalled;
  by_tid.put(tid, (int)slot);
  by_proc_tid.put(proc_tid, (int)slot);
  if (tid == engine.prepared.pid) engine.plan.leader = &t;
  return true;
}

// Reads the task list once and signals the new threads. A pass that finds every listed thread already parked, and as many
// as the kernel counts, proves that none is left: parked threads make no new ones.
bool look_for_threads(bool foreign_proc, Pass *pass) {
  const long dir = sys(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0) return fail((int)-dir) << "/proc/self/task can't be read: the engine needs /proc", false;
  alignas(8) static char listing[16384];
  bool ok = true;
  long n;
  while (ok && (n = sys(SYS_getdents64, dir, listing, sizeof listing)) > 0)
    for (char *p = listing; ok && p < listing + n; p += reinterpret_cast<DirectoryEntry *>(p)->length) {
      const char *entry = reinterpret_cast<DirectoryEntry *>(p)->name;
      if (*entry == '.') continue;
      unsigned long proc_tid;
      parse_dec(entry, &proc_tid);
      pass->seen++;
      if (Thread *t = thread_by_proc_tid((int)proc_tid)) {
        if (t->state == thread_signalled) pass->running++;
        continue;
      }
      const int tid = foreign_proc ? own_tid((int)proc_tid) : (int)proc_tid;
      pass->fresh++;
      if (tid < 0) continue;  // it has just ended
      ok = add_thread((int)proc_tid, tid);
      if (!ok) break;
      Thread &t = engine.plan.threads[engine.plan.thread_count - 1];
      look_at_wait(t);
      // A kernel thread has no place in the program to return to. A signal to it would stay pending for ever.
      if (!(t.wait.call.known && t.wait.call.pc) && works_for_a_ring(t.proc_tid))
        t.state = thread_of_kernel;
      else
        ok = send_signal(t, engine.plan.thread_count - 1);
    }
  struct stat st {};
  sys(SYS_fstat, dir, &st);
  pass->listed = st.st_nlink - 2;
  sys(SYS_close, dir);
  return ok;
}

// A signalled thread that no longer exists has ended without seeing the signal.
void forget_ended() {
  for (size_t i = 1; i < engine.plan.thread_count; i++) {
    Thread &t = engine.plan.threads[i];
    if (t.state == thread_signalled && sys(SYS_tgkill, engine.prepared.pid, t.tid, 0) == -ESRCH)
      t.state = thread_gone;
  }
}

bool fail_stuck() {
  for (size_t i = 1; i < engine.plan.thread_count; i++) {
    Thread &t = engine.plan.threads[i];
    if (t.state != thread_signalled) continue;
    char *text = engine.scratch;
    char name[32] = "?";
    const char *why = "it did not come back from the kernel";
    if (read_file(Path("/proc/self/task/", t.proc_tid, "/status"), text, 8192) > 0) {
      if (const char *p = field(text, "Name:")) {
        size_t n = 0;
        while (*p && *p != '\n' && n < sizeof name - 1) name[n++] = *p++;
        name[n] = 0;
      }
      unsigned long blocked = 0;
      if (const char *p = field(text, "SigBlk:")) parse_hex(p, &blocked);
      const char *state = field(text, "State:");
      if (blocked >> (park_signal - 1) & 1)
        why = "it blocks signal 33 by a raw system call";
      else if (state && *state == 'D')
        why = "it waits in the kernel and takes no signals (for a vfork? for a disk that hangs?)";
      else if (state && *state == 't')
        why = "a debugger has stopped it";
      else if (state && *state == 'Z')
        why = "it has ended but its process goes on (the main thread called pthread_exit)";
    }
    return fail(ETIMEDOUT) << "thread " << t.tid << " (" << name << ") did not stop within "
                           << engine.order->park_timeout_ms << " ms: " << why
                           << "; try again or end that thread",
           false;
  }
  return fail(ETIMEDOUT) << "threads start and end faster than they can be stopped ("
                         << engine.order->park_timeout_ms << " ms); try again",
         false;
}

}  // namespace

Thread *thread_by_tid(int tid) {
  return by_tid.find(tid, [](const Thread &t) { return t.tid; });
}
Thread *thread_by_proc_tid(int tid) {
  return by_proc_tid.find(tid, [](const Thread &t) { return t.proc_tid; });
}

void describe_thread(Thread &t) {
  arch::read_thread_registers(&t.registers);
  t.robust_error = (int)-sys(SYS_get_robust_list, 0, &t.robust_list, &t.robust_size);
  sys(SYS_prctl, PR_GET_TID_ADDRESS, &t.tid_address, 0, 0, 0);
  sys(SYS_prctl, PR_GET_NAME, t.name, 0, 0, 0);
  sys(SYS_sigaltstack, nullptr, &t.alternate_stack);
  t.nice = 20 - (int)sys(SYS_getpriority, PRIO_PROCESS, 0);
  t.affinity_bytes = (int)sys(SYS_sched_getaffinity, 0, sizeof t.affinity, t.affinity);
}

void take_signal_on_own_stacks() { on_own_stacks = true; }

void install_park_handler() {
  const unsigned long where = on_own_stacks ? 0 : SA_ONSTACK;
  KernelAction action{(void *)on_park_signal, SA_SIGINFO | SA_RESTART | where | 0x04000000 /* SA_RESTORER */,
                      (void *)arch::gc_signal_return, ~0UL};
  KernelAction old{};
  sys(SYS_rt_sigaction, park_signal, &action, &old, 8);
  if (old.handler != (void *)on_park_signal) previous_action = old;
}

bool park_threads() {
  Engine &e = engine;
  char self[32] = {};
  sys(SYS_readlinkat, AT_FDCWD, "/proc/self", self, sizeof self - 1);
  unsigned long proc_pid = 0;
  parse_dec(self, &proc_pid);
  if (!proc_pid)
    return fail(ENOENT) << "/proc is not mounted: the engine reads threads and descriptors there", false;
  const bool foreign_proc = (int)proc_pid != e.prepared.pid;

  parked = 0;
  if (!by_tid.prepare(e.arena, e.plan.thread_capacity) ||
      !by_proc_tid.prepare(e.arena, e.plan.thread_capacity))
    return fail_arena();
  char thread_self[64] = {};
  sys(SYS_readlinkat, AT_FDCWD, "/proc/thread-self", thread_self, sizeof thread_self - 1);
  const char *tail = find_in_line(thread_self, "task/");
  unsigned long my_proc_tid = 0;
  if (tail) parse_dec(tail + 5, &my_proc_tid);
  if (!add_thread((int)my_proc_tid, (int)sys(SYS_gettid))) return false;
  describe_thread(e.plan.threads[0]);
  e.plan.threads[0].state = thread_parked;

  const double deadline = now_ms() + e.order->park_timeout_ms;
  for (;;) {
    Pass pass;
    const int before = parked;
    if (!look_for_threads(foreign_proc, &pass)) return false;
    if (pass.complete()) break;
    if (now_ms() > deadline) return fail_stuck();
    // Nearly always the last one parks within microseconds; if one ends instead, the next pass notices.
    if (parked == before) futex_wait(parked, before, 1);
    forget_ended();
    int awaited = 0;
    for (size_t i = 1; i < e.plan.thread_count; i++)
      awaited += e.plan.threads[i].state == thread_signalled || e.plan.threads[i].state == thread_parked;
    const double patience = now_ms() + 2;
    for (int v = parked; v < awaited && now_ms() < patience; v = parked) futex_wait(parked, v, 1);
  }
  if (!e.plan.leader || e.plan.leader->state != thread_parked)
    return fail(EOPNOTSUPP) << "the main thread has ended (pthread_exit): such a process can't be cloned",
           false;
  return true;
}

void release_threads() {
  const unsigned mine = short_generation();
  generation++;  // from here on late signals return without touching anything
  released = mine;
  sys(SYS_futex, &released, FUTEX_WAKE, INT32_MAX);
  wait_until_left();
}

void wait_until_left() {
  for (int v = inside; v != 0; v = inside) futex_wait(inside, v);
}

}  // namespace gridcentric::live_clone
