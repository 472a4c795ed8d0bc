// In a process below the root: the signal, and what follows from it. The engine runs in the signal handler of the main thread,
// which so is the caller of this clone and at the same time the thread that the copies go on with.
//
// The handler may have interrupted anything, so nothing here allocates or takes a lock; what needs the heap was made ready
// before main() (expect_signal).
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "../descriptor.hpp"
#include "signal.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone::tree {

const Order *order_of_member;
LibcLayout libc_of_member;
void (*repair_of_member)();

namespace {

constexpr size_t arena_size = size_t(1) << 30;  // address space only: pages appear as they are used

// In a copy that has not been repaired yet, because its main thread was busy: looks again after a while.
bool owed;
int timer = -1;
constexpr int64_t first_look_ns = 1'000'000, longest_look_ns = 100'000'000;
int64_t look_after_ns;

// A forked process has the number of its parent's timer, but not the timer.
void look_later() {
  const itimerspec after{{0, 0}, {0, look_after_ns}};
  if (look_after_ns < longest_look_ns) look_after_ns *= 2;
  if (timer >= 0 && sys(SYS_timer_settime, timer, 0, &after, nullptr) == 0) return;
  struct sigevent event {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = park_signal;
  event.sigev_value.sival_ptr = &owed;
  event._sigev_un._tid = (int)sys(SYS_gettid);
  if (sys(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) < 0)
    timer = -1;
  else
    sys(SYS_timer_settime, timer, 0, &after, nullptr);
}

void repair_if_at_rest(const Wait &wait, const ucontext_t *frame) {
  if (!is_at_rest(wait, frame)) {
    look_later();
    return;
  }
  owed = false;
  if (timer >= 0) sys(SYS_timer_delete, timer);
  timer = -1;
  repair_of_member();
}

PrivateFolder folders[most_folders];

// The page that the signal names; null if it does not fit this library.
Page *map_page(const SignalValue &value) {
  char path[96];
  Text(path, sizeof path) << "/proc/" << value.root_proc_pid << "/fd/" << value.fd;
  const long fd = sys(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return nullptr;
  uint64_t head[2] = {};
  Page *mapped = nullptr;
  if (sys(SYS_pread64, fd, head, sizeof head, 0) == sizeof head && head[0] == page_magic) {
    const long at = sys(SYS_mmap, 0, head[1], PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at > 0 || at < -4095) mapped = reinterpret_cast<Page *>(at);
  }
  sys(SYS_close, fd);
  return mapped;
}

int own_place(Page &page) {
  const int pid = (int)sys(SYS_getpid);
  for (int i = 1; i < page.count; i++)
    if (page.processes[i].pid == pid) return i;
  return -1;
}

bool lay_out_engine(Page &page, int process, int root_pid) {
  Engine &e = engine;
  e.prepared = {};
  e.arena = {};
  e.plan = {};
  e.result = {};
  e.order = order_of_member;
  e.prepared.libc = libc_of_member;
  e.prepared.pid = (int)sys(SYS_getpid);
  e.prepared.tree = &page;
  e.prepared.tree_size = page.size;
  e.prepared.process = process;
  e.prepared.root_pidfd = (int)sys(SYS_pidfd_open, root_pid, 0);
  e.prepared.status = page.status(process);
  e.prepared.clones = page.clones;
  for (int i = 0; i < page.folder_count; i++)
    folders[i] = {page.folders[i].path, page.folders[i].number, page.folders[i].mount,
                  page.folders[i].device};
  e.prepared.store = page.store;
  e.prepared.private_folders = folders;
  e.prepared.private_folder_count = (size_t)page.folder_count;
  char path[96];
  Text(path, sizeof path) << "/proc/" << page.root_proc_pid << "/fd/" << page.reaper;
  e.prepared.reaper = (int)sys(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
  if (e.prepared.reaper < 0) return fail(-e.prepared.reaper) << "gc-reaper can't be opened", false;
  const long memory = sys(SYS_mmap, 0, arena_size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory < 0 && memory > -4096) return fail((int)-memory) << "no address space for the engine", false;
  e.arena = {reinterpret_cast<char *>(memory), arena_size, 0};
  e.scratch_size = arena_size / 16;
  e.scratch = static_cast<char *>(e.arena.take(e.scratch_size));
  e.result.notes = static_cast<char *>(e.arena.take(notes_size));
  e.plan.thread_capacity = arena_size / (sizeof(Thread) * 8);
  e.plan.threads = static_cast<Thread *>(e.arena.take(e.plan.thread_capacity * sizeof(Thread)));
  return true;
}

void forget_engine() {
  Engine &e = engine;
  for (const int fd : {e.prepared.reaper, e.prepared.root_pidfd})
    if (fd >= 0 && e.result.index == 0) sys(SYS_close, fd);  // a clone has closed them
  if (e.arena.base) sys(SYS_munmap, e.arena.base, e.arena.size);
  if (e.prepared.tree) sys(SYS_munmap, e.prepared.tree, e.prepared.tree_size);
  e.arena = {};
  e.prepared = {};
  e.plan = {};
  const int index = e.result.index;
  e.result = {};
  e.result.index = index;
}

// Returns twice: in the process, and in each copy, where the result's index says so.
bool copy_this_process() {
  Engine &e = engine;
  install_park_handler();
  bool ok = park_threads();
  settle_deadlines();
  ok = ok && plan_process() && allow_fork_everywhere();
  if (ok && arch::gc_context_save(&e.plan.threads[0].context) != 0) return true;
  if (ok) report(planned);
  ok = ok && wait_for_root(copying) && (e.from_the_master() ? join_clones() : make_frozen_member());
  if (!ok && page().phase != given_up) fail_to_root();
  wait_for_root(released);
  release_threads();
  return ok;
}

}  // namespace

void fail_to_root() {
  self().failure = engine.result.failure;
  self().passes = engine.result.passes;
  report(failed);
}

void report(ProcessState state) {
  if (!is_member()) return;
  self().state = state;
  page().progress++;
  futex_wake(page().progress);
}

bool wait_for_root(Phase phase) {
  for (int now = page().phase; now < phase; now = page().phase) {
    if (has_ended(engine.prepared.root_pidfd)) return false;
    futex_wait(page().phase, now, look_again_ms);
  }
  return page().phase != given_up;
}

bool has_root_gone() { return page().phase == given_up || has_ended(engine.prepared.root_pidfd); }

void open_gate() {
  page().committed = 1;
  futex_wake(page().committed);
}

void wait_for_commit() {
  while (!page().committed) {
    // Without the root's copy, which sees when the root has died, there is no namespace any more.
    if (page().phase == given_up)
      for (;;) sys(SYS_exit_group, 125);
    futex_wait(page().committed, 0, look_again_ms);
  }
}

bool on_signal(const siginfo_t *info, ucontext_t *frame) {
  if (info->si_code == SI_TIMER && info->si_value.sival_ptr == &owed) {
    Wait wait{};
    note_interruption(wait, frame);
    if (owed) repair_if_at_rest(wait, frame);
    go_on_waiting(wait, frame, false);
    return true;
  }
  SignalValue value;
  if (!order_of_member || info->si_code != SI_QUEUE ||
      !SignalValue::unpack((uint64_t)info->si_value.sival_ptr, &value) || info->si_uid != sys(SYS_getuid) ||
      sys(SYS_gettid) != sys(SYS_getpid))
    return false;
  Page *shared = map_page(value);
  if (!shared) return true;  // the root gives up after a while
  const int place = own_place(*shared);
  if (place < 0 || !take_engine()) {
    if (place > 0) {
      shared->processes[place].failure.err = EBUSY;
      Text(shared->processes[place].failure.what, text_size) << "it is cloning itself at this moment";
      shared->processes[place].state = failed;
    }
    sys(SYS_munmap, shared, shared->size);
    return true;
  }
  tell_children(shared->processes[place]);
  Wait wait = shared->processes[place].wait;
  wait.asleep_since = -1;
  note_interruption(wait, frame);
  if (lay_out_engine(*shared, place, info->si_pid))
    copy_this_process();
  else
    fail_to_root();
  const bool in_clone = engine.result.index > 0;
  if (in_clone) wait_until_left();
  forget_engine();
  leave_engine();
  if (in_clone && repair_of_member) {
    owed = true;
    look_after_ns = first_look_ns;
    repair_if_at_rest(wait, frame);
  }
  go_on_waiting(wait, frame, in_clone);
  return true;
}

}  // namespace gridcentric::live_clone::tree
