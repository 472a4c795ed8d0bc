// The public face of the engine (live_clone.hpp): checks the order, lays out memory and descriptors before
// anybody is stopped, runs the stages (stages.cpp), and turns what came of it into an Outcome. May allocate,
// unlike the stages.
#include "live_clone.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "core/private_files/folders.hpp"
#include "descriptor.hpp"
#include "engine.hpp"
#include "file_locks.hpp"
#include "libc_profile.hpp"
#include "preflight.hpp"
#include "tree/refused_processes.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr size_t most_clones = 1024;
constexpr size_t first_arena = size_t(64) << 20;  // address space only: pages appear as they are used
constexpr size_t largest_arena = size_t(8) << 30;

// Held clones, between clone() and commit() or abort(). The pid tells a child that the program forked
// meanwhile.
struct Held {
  int pid = 0;
  int gate = -1;
  StatusPage *status = nullptr;
  size_t status_size = 0;
  std::vector<int> pidfds;
  tree::Page *tree = nullptr;
};

Held held;

void close_fd(int &fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

Outcome failure(int err, std::string message) {
  Outcome o;
  o.err = err;
  o.message = std::move(message);
  return o;
}

std::string check(const Order &order) {
  if (order.addresses.empty() || order.addresses.size() > most_clones)
    return std::to_string(order.addresses.size()) + " clones ordered: expected 1 to " +
           std::to_string(most_clones);
  for (uint32_t a : order.addresses)
    if (a >> 24 != 127) return "an address outside 127.0.0.0/8 was given for a clone: nobody could bind it";
  if (order.lifeline >= 0 && fcntl(order.lifeline, F_GETFD) < 0)
    return "the lifeline, descriptor " + std::to_string(order.lifeline) + ", is not open";
  if (!order.answer_pipe.answers.empty() && order.answer_pipe.answers.size() != order.addresses.size())
    return "the answers in answer_pipe must be as many as the clones";
  if (order.with_children && order.mode != Mode::pidns) return tree::pidns_mode_only;
  if (order.park_timeout_ms <= 0) return "park_timeout_ms must be positive";
  return "";
}

// Output that waits in stdout would be written by master and clone. A stream that another thread is using is
// left alone: waiting for it could take for ever.
void flush_standard_output() {
  for (FILE *f : {stdout, stderr}) {
    if (ftrylockfile(f) != 0) continue;
    fflush_unlocked(f);
    funlockfile(f);
  }
}

std::string refused(const char *call) {
  const int err = errno;
  std::string text = std::string(call) + ", without which nothing can be cloned: " + strerror(err);
  if (err == ENOSYS || err == EPERM) text += " (a seccomp filter? a kernel before 5.10?)";
  errno = err;
  return text;
}

// Everything the stages need that is not theirs to make: descriptors and memory.
class Preparation {
 public:
  ~Preparation() {
    close_fd(engine.prepared.reaper);
    close_fd(engine.prepared.progress);
    close_fd(engine.prepared.master_pidfd);
    close_fd(engine.prepared.gate);
    tree::forget();
    unmap();
    if (engine.prepared.status) munmap(engine.prepared.status, engine.prepared.status_size);
    engine = {};  // what it points to is gone
  }

  std::string open(const Order &order) {
    Engine &e = engine;
    e.order = &order;
    e.prepared.clones = (int)order.addresses.size();
    e.prepared.libc = libc_profile();
    e.prepared.pid = getpid();
    e.prepared.parent = getppid();
    e.prepared.whole_id_map = geteuid() == 0;
    look_at_private_folders();
    if (order.with_children && folders_.size() > tree::most_folders)
      return std::to_string(folders_.size()) +
             " private folders: a program is cloned with its children with up to " +
             std::to_string(tree::most_folders);
    e.prepared.reaper = ::open(order.reaper_path.c_str(), O_PATH | O_CLOEXEC);
    if (e.prepared.reaper < 0 || faccessat(AT_FDCWD, order.reaper_path.c_str(), X_OK, AT_EACCESS) != 0)
      return "gc-reaper, expected at '" + order.reaper_path + "': " + strerror(errno);
    e.prepared.gate = eventfd(0, EFD_CLOEXEC);
    e.prepared.progress = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e.prepared.gate < 0 || e.prepared.progress < 0)
      return std::string("eventfd for the clones: ") + strerror(errno);
    // How clones are ended when something fails: better known before there are any.
    e.prepared.master_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (e.prepared.master_pidfd < 0) return refused("pidfd_open");
    if (syscall(SYS_pidfd_send_signal, e.prepared.master_pidfd, 0, nullptr, 0) < 0)
      return refused("pidfd_send_signal");
    e.prepared.status_size = StatusPage::size_for(order.addresses.size());
    void *page =
        mmap(nullptr, e.prepared.status_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return std::string("no memory for the status page: ") + strerror(errno);
    e.prepared.status = static_cast<StatusPage *>(page);
    return "";
  }

  // Lays the arena out anew; a fifth of it is for reading /proc.
  bool lay_out(size_t size, size_t threads) {
    Engine &e = engine;
    unmap();
    void *memory =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    e.arena = {static_cast<char *>(memory), size, 0};
    e.scratch_size = size / 5;
    e.scratch = static_cast<char *>(e.arena.take(e.scratch_size));
    e.plan = {};
    e.result = {};
    e.result.notes = static_cast<char *>(e.arena.take(notes_size));
    e.plan.thread_capacity = std::max(threads * 2 + 64, size / (sizeof(Thread) * 8));
    e.plan.threads = static_cast<Thread *>(e.arena.take(e.plan.thread_capacity * sizeof(Thread)));
    memset(static_cast<void *>(e.prepared.status), 0, e.prepared.status_size);
    return e.plan.threads != nullptr && (!e.order->with_children || tree::lay_out());
  }

 private:
  void look_at_private_folders() {
    found_ = private_files::folders_of("/proc/self");
    for (const auto &folder : found_.all)
      folders_.push_back({folder.path.c_str(), folder.number, folder.mount, folder.device});
    engine.prepared.store = found_.store.c_str();
    engine.prepared.private_folders = folders_.data();
    engine.prepared.private_folder_count = folders_.size();
  }

  void unmap() {
    if (engine.arena.base) munmap(engine.arena.base, engine.arena.size);
    engine.arena = {};
  }

  private_files::Folders found_;
  std::vector<PrivateFolder> folders_;
};

// Signal handlers of the program must not run on the caller's thread while the others are stopped. Raw: the C
// library would leave signal 33 unblocked.
bool run_with_signals_blocked(const Order &order) {
  unsigned long all = ~0ul, before = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
  install_park_handler();
  bool ok = run_parked_stages();
  if (engine.result.index == 0) {
    if (ok && order.released) order.released();
    ok = ok && run_last_stages();
    wait_for_helpers();
  }
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, 8);
  return ok;
}

void report(Outcome &o, double start) {
  const Engine &e = engine;
  o.times.park_ms = e.result.park_ms;
  o.times.plan_ms = e.result.plan_ms;
  o.times.dofork_ms = e.result.dofork_ms;
  o.times.descriptors_ms = e.result.descriptors_ms;
  o.times.locks_ms = e.prepared.status->copies[0].locks_ms;
  o.times.fork_ms = e.result.fork_ms;
  o.times.pause_ms = e.result.pause_ms;
  o.times.ready_ms = now_ms() - start;
  for (int k = 0; k < e.clones(); k++) {
    const CloneStatus &s = e.prepared.status->clones[k];
    o.times.clone_memory_ms = std::max(o.times.clone_memory_ms, s.memory_ms);
    o.times.clone_descriptors_ms = std::max(o.times.clone_descriptors_ms, s.descriptors_ms);
    o.times.locks_ms = std::max(o.times.locks_ms, s.locks_ms);
    o.times.clone_threads_ms = std::max(o.times.clone_threads_ms, s.threads_ms);
  }
  for (size_t i = 0; i < e.plan.thread_count; i++) o.threads += e.plan.threads[i].state == thread_parked;
  o.descriptors = e.plan.descriptors.count;
  for (size_t at = 0; at < e.result.notes_used;) {
    const char *line = e.result.notes + at;
    const size_t length = (size_t)(strchr(line, '\n') - line);
    o.degraded.emplace_back(line, length);
    at += length + 1;
  }
  if (e.result.notes_lost) o.degraded.push_back(std::to_string(e.result.notes_lost) + " more");
}

// After a try that met what passes when the threads run: the end of a transaction, or of a call into a ring. False when
// waiting is over: nobody but the caller could end it, or it took too long.
bool wait_until_it_passes(const Order &order, double deadline) {
  size_t threads = 0;
  for (size_t i = 0; i < engine.plan.thread_count; i++)
    threads += engine.plan.threads[i].state == thread_parked;
  const bool alone = threads < 2 && !order.with_children;
  if (!engine.result.passes || alone || now_ms() > deadline) return false;
  const auto wait = [deadline] {
    do {
      const timespec moment{0, 200'000};
      nanosleep(&moment, nullptr);
    } while (engine.result.locked_fd >= 0 && !is_transaction_over(engine.result.locked_fd) &&
             now_ms() < deadline);
  };
  order.let_go_during ? order.let_go_during(wait) : wait();
  return true;
}

// In the clone: nothing of the order is left but the index.
void become_clone(Preparation &) {
  wait_until_left();
  Engine &e = engine;
  e.prepared.reaper = e.prepared.gate = e.prepared.progress = e.prepared.master_pidfd = e.prepared.tree_fd =
      -1;  // closed before the gate opened
}

Outcome clone_now(const Order &order) {
  const double start = now_ms();
  Outcome out;
  const std::vector<Refusal> refusals = urgent_refusals(order);
  if (!refusals.empty()) return failure(refusals[0].err, refusals[0].what);
  out.times.preflight_ms = now_ms() - start;

  Preparation preparation;
  if (const std::string problem = preparation.open(order); !problem.empty())
    return failure(errno ? errno : EINVAL, problem);
  flush_standard_output();
  const double deadline = now_ms() + passing_timeout_ms;
  bool ok = false;
  size_t threads = 0;
  for (size_t size = first_arena; !ok;) {
    if (!preparation.lay_out(size, threads))
      return failure(ENOMEM, "no address space for the engine: it needs " + std::to_string(size >> 20) +
                                 " MB for a moment; raise the limit (ulimit -v, RLIMIT_AS)");
    ok = run_with_signals_blocked(order);
    if (wait_until_it_passes(order, deadline)) continue;
    if (engine.result.failure.err != ENOBUFS) break;
    if (size >= largest_arena) return failure(E2BIG, "too many threads, descriptors or mappings to clone");
    threads = engine.plan.thread_count;
    size *= 4;
    if (order.let_go_during) order.let_go_during([] {});  // held again, should it have been released
  }
  if (engine.result.index > 0) {
    become_clone(preparation);
    report(out, start);
    for (size_t i = 0; i < engine.plan.thread_count; i++)
      if (engine.plan.threads[i].state == thread_parked)
        out.thread_pointers.push_back(engine.plan.threads[i].registers.tls);
    out.index = engine.result.index;
    return out;
  }
  report(out, start);
  if (!ok) {
    out.err = engine.result.failure.err;
    out.message = engine.result.failure.what;
    return out;
  }
  out.index = 0;
  out.pidfds.assign(engine.result.pidfds, engine.result.pidfds + engine.clones());
  for (const Descriptor &d : engine.plan.descriptors)
    if ((d.kind == Kind::listener || d.kind == Kind::udp) && d.same_as < 0 && d.socket.port)
      out.ports.push_back({d.kind == Kind::listener, d.socket.family == AF_INET6, d.socket.port});
  held = {getpid(),   engine.prepared.gate, engine.prepared.status, engine.prepared.status_size,
          out.pidfds, engine.prepared.tree};
  engine.prepared.gate = -1;  // they live on until commit() or abort()
  engine.prepared.status = nullptr;
  engine.prepared.tree = nullptr;
  return out;
}

bool holding() { return held.pid && held.pid == getpid(); }

void let_go() {
  close_fd(held.gate);
  munmap(held.status, held.status_size);
  if (held.tree) munmap(held.tree, held.tree->size);
  held = {};
  leave_engine();
}

}  // namespace

const char *mode_name(Mode mode) { return mode == Mode::pidns ? "pidns" : "plain"; }

Probe probe() {
  static std::once_flag once;
  static Probe answer;
  std::call_once(once, [] {
    if (getpid() == 1) {
      answer = {Mode::plain,
                "plain: this process is pid 1 of its namespace, and so would be the reaper of a clone"};
      return;
    }
    const NamespaceTrial trial = try_namespaces();
    if (trial.err)
      answer = {Mode::plain,
                std::string("plain: ") + trial.step + " is refused here: " + strerror(trial.err)};
    else
      answer = {Mode::pidns, "pidns: user and pid namespaces work here, process and thread ids stay equal"};
  });
  return answer;
}

Outcome clone(const Order &order) {
  if (const std::string problem = check(order); !problem.empty()) return failure(EINVAL, problem);
  if (!take_engine())
    return failure(EBUSY, "another thread clones this process, or clones wait for commit() or abort()");
  try {
    Outcome out = clone_now(order);
    if (out.index != 0) leave_engine();
    return out;
  } catch (...) {
    leave_engine();
    throw;
  }
}

void commit() {
  if (!holding()) return;
  held.status->committed = 1;
  const uint64_t one = 1;
  if (write(held.gate, &one, sizeof one) < 0) { /* an eventfd at 0 takes 1 */
  }
  let_go();
}

void abort() {
  if (!holding()) return;
  kill_held(held.pidfds.data(), (int)held.pidfds.size());
  let_go();
}

}  // namespace gridcentric::live_clone
