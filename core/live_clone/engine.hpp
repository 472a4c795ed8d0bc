// What the stages share during one clone(): the order, what was prepared for it, the plan, the result. Everything here may
// be used while all other threads are parked, so it is plain data in an arena; of the order, which is not, the stages only
// read the numbers. Raw system calls only: see sys.hpp.
#pragma once

#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "answer.hpp"
#include "arch.hpp"
#include "libc_profile.hpp"
#include "live_clone.hpp"
#include "status_page.hpp"
#include "sys.hpp"
#include "waits.hpp"

namespace gridcentric::live_clone {

/// The stack of a process or thread that makes system calls and little else.
inline constexpr size_t helper_stack_size = 16 * 1024;

/// Memory mapped before anybody is parked. Nothing is ever freed; when it is used up the call ends with
/// ENOBUFS and clone() tries again with a larger one, so it is the only limit there is to counts of threads,
/// descriptors and so on.
struct Arena {
  char *base = nullptr;
  size_t size = 0;
  size_t used = 0;

  void *take(size_t bytes) {
    const size_t start = (used + 63) & ~size_t(63);
    if (start > size || size - start < bytes) return nullptr;
    used = start + bytes;
    return base + start;
  }
  bool holds(uint64_t address) const { return address - (uint64_t)base < size; }
};

/// A growing array in the arena. Nothing else may be taken from the arena while it grows. A mistake ends the process, before it can
/// write where somebody's memory is.
template <typename T>
struct Table {
  T *items = nullptr;
  size_t count = 0;

  T *add(Arena &arena) {
    if (!count) {
      items = static_cast<T *>(arena.take(sizeof(T)));
      if (!items) return nullptr;
    } else {
      if (reinterpret_cast<char *>(items + count) != arena.base + arena.used) __builtin_trap();
      if (arena.size - arena.used < sizeof(T)) return nullptr;
      arena.used += sizeof(T);
    }
    return &items[count++];
  }
  T &operator[](size_t i) {
    if (i >= count) __builtin_trap();
    return items[i];
  }
  T *begin() { return items; }
  T *end() { return items + count; }
};

enum ThreadState : int {
  thread_unknown = 0,
  thread_signalled,
  thread_parked,
  thread_gone,
  thread_of_kernel,  ///< works for an io_uring: takes no signal, and a clone's ring gets its own
};

/// A thread of the master: what it told about itself when it parked, and what is needed to make it again.
struct Thread {
  int tid;       ///< in its own pid namespace
  int proc_tid;  ///< as /proc names it: differs inside a clone, whose /proc belongs to an outer namespace
  int new_tid;   ///< in the clone
  std::atomic<int> state;
  arch::Context context;
  arch::ThreadRegisters registers;
  Wait wait;          ///< that the signal interrupted
  ucontext_t *frame;  ///< where the signal left its registers; null for the caller
  void *robust_list;
  size_t robust_size;
  int robust_error;  ///< why the list is not known
  int *tid_address;  ///< what the kernel clears when the thread ends
  int *id_word;      ///< where the C library keeps the thread's id; null: unknown
  stack_t alternate_stack;
  char name[16];
  int nice;
  unsigned long affinity[16];
  int affinity_bytes;
  alignas(16) char stack[2048];  ///< in the clone, until it is back on its own
};

/// Of clone3(): struct clone_args as of Linux 5.7.
struct CloneArguments {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
      cgroup;
};

namespace tree {
struct Page;
}
struct SharedMapping;
struct Guards;
struct Descriptor;
struct Registration;
struct KernelTimer;
struct LockOwner;
struct HeldLock;
struct Group;
struct Spawned;
struct Filler;
struct PrivateMapping;

/// How long clone() waits for what passes: transactions, calls into a ring.
inline constexpr int passing_timeout_ms = 5000;

/// A folder of which each domain has its own view: core/private_files.
struct PrivateFolder {
  const char *path;
  unsigned number;
  uint64_t mount, device;
};

/// What was made for one clone() before anybody was stopped. Constant while the stages run, in the clones too.
struct Prepared {
  int pid = 0;     ///< of the master, in its namespace
  int parent = 0;  ///< pid of its parent there; 0: that is outside
  int clones = 0;
  int reaper = -1, gate = -1, progress = -1, master_pidfd = -1;
  StatusPage *status = nullptr;
  size_t status_size = 0;
  LibcLayout libc{};
  bool whole_id_map = false;  ///< may map all user ids into a clone's namespace (root)
  /// Of a tree (tree/tree.hpp), or null: what its processes share, and which of them this is; 0 is the root.
  tree::Page *tree = nullptr;
  size_t tree_size = 0;
  int process = 0;
  int tree_fd = -1;                                ///< in the root
  int root_pidfd = -1;                             ///< in the others
  const char *store = nullptr;                     ///< where the changes in private folders are mounted
  const PrivateFolder *private_folders = nullptr;  ///< [private_folder_count]
  size_t private_folder_count = 0;
};

/// What was found while the threads were parked, and what the clones are made by. A clone reads its copy.
struct Plan {
  Thread *threads;  ///< [0] is the caller
  size_t thread_count, thread_capacity;
  Thread *leader;
  Table<SharedMapping> shared;
  Table<Guards> guards;  ///< in the clone, of its shared mappings
  bool swap_in_use;      ///< what isn't in memory may be on disk
  Table<Descriptor> descriptors;
  /// Indexes of all descriptors: those of one file side by side, of one open file next to each other.
  int *by_file;
  Table<Registration> registrations;
  Table<Group> groups;  ///< for multicast, that somebody on this computer is in
  bool groups_known;
  Table<HeldLock> locks;  ///< on files, which the clone takes again
  Table<KernelTimer> timers;
  itimerval interval_timers[3];
  Table<LockOwner> lock_owners;
  Table<Filler> fillers;  ///< in the clone, while it maps
  PrivateMapping *private_mappings;
  size_t private_mapping_count;
  const char *private_working_folder;  ///< entered by its path; null: it moves with the process
};

/// What came of it.
struct Result {
  FailureText failure;
  bool passes;         ///< what keeps the process from being cloned is over in a moment, when its threads run
  int locked_fd = -1;  ///< it is a transaction on this descriptor; -1: none
  int first, last;     ///< of the clones, those that this process makes: all, or the share of a frozen copy
  Spawned *spawned;    ///< [clones]
  int *pidfds;         ///< [clones], -1: not made
  bool frozen;         ///< this is a frozen copy
  int copies;          ///< how many frozen copies there are, or will be; 0: none
  int copy;            ///< in a copy and its clones: which one
  int copy_pidfd = -1,
      copy_progress = -1;  ///< the same: of the copy; what wakes it up when a clone has got on
  struct {
    int to_copy = -1, to_master = -1;  ///< the ends of a socket pair: the master's and the copy's
  } links[most_copies];
  char *notes;  ///< lines of text
  size_t notes_used;
  size_t notes_lost;
  double park_ms, plan_ms, dofork_ms, descriptors_ms, fork_ms, pause_ms;
  /// 0 in the master, k in clone k: set before the caller resumes.
  int index;
};

/// One clone() of this process. Plan and result begin anew with each try; nothing else outlives a call.
struct Engine {
  const Order *order;
  Prepared prepared;
  Arena arena;
  char *scratch;  ///< for reading /proc
  size_t scratch_size;
  Plan plan;
  Result result;

  bool pidns() const { return order->mode == Mode::pidns; }
  int clones() const { return prepared.clones; }
  /// One clone, or clones that look at the master's private folders while it stands still; others come from a frozen copy.
  bool from_the_master() const { return clones() == 1 || prepared.private_folder_count; }
};

inline constexpr size_t notes_size = 32 * 1024;

/// The one engine of the process: one clone() at a time.
extern Engine engine;
/// Takes it for this process; a forked child takes it from its parent's copy. False: it is busy.
bool take_engine();
void leave_engine();

/// Records why this clone() fails; the first one wins. Write the text to what it returns:
///   return fail(EOPNOTSUPP) << "descriptor " << fd << " is ...", false;
Text fail(int err);
/// The arena is used up: clone() starts again with a larger one.
bool fail_arena();
/// Adds a line about something the clones get in a degraded form. Write it to what it returns, then
/// end_note().
Text note();
void end_note(const Text &text);

// ---- parker.cpp
inline constexpr int park_signal = 33;
/// Brings every other thread to a stop. False (with a failure recorded) when one can't be stopped in time;
/// then those that did stop must be released all the same.
bool park_threads();
/// Lets the parked threads go and waits until none of them touches the arena any more.
void release_threads();
/// Waits until no parked thread touches the arena any more; in a clone: until all have resumed.
void wait_until_left();
/// The parked thread of this id (as the master's namespace or as /proc names it), or null.
Thread *thread_by_tid(int tid);
Thread *thread_by_proc_tid(int proc_tid);
/// Fills in what a thread knows about itself; called by the thread.
void describe_thread(Thread &thread);
/// Makes our handler of signal 33 the process's, keeping the one found for signals that are not ours.
void install_park_handler();

// ---- sleepers.cpp
/// What the thread waits in, as seen from outside, before a signal takes it out of there.
void look_at_call(Thread &thread);
/// The same for a thread of another process.
void look_at_call_of(int proc_tid, arch::WaitingCall *call);
/// Since when it does: for waits with a limit.
void look_at_sleep(Thread &thread);
/// The scheduler's clock of the processor that the caller is on.
SchedulerClock look_at_clock();
/// When threads have been stopped: finds out until when those wait that are to go on waiting.
void settle_deadlines();

// ---- waits.cpp
/// What the thread waits in and how long: before it gets the signal.
void look_at_wait(Thread &thread);
/// In the handler: what the signal has interrupted. `wait` is what was seen before, or empty.
void note_interruption(Wait &wait, ucontext_t *frame);
/// In the handler: does the thread wait for something, and not for a moment only? Then it holds no lock of the C library's.
bool is_at_rest(const Wait &wait, const ucontext_t *frame);
/// In the handler, when the thread is let go: waits for what is left.
void go_on_waiting(const Wait &wait, ucontext_t *frame, bool in_clone);

// ---- thread_words.cpp
bool plan_threads();

// ---- memory.cpp
bool plan_memory();
bool allow_fork_everywhere();
bool rebuild_memory();
/// By the plan: will copies fill memory? That takes as long as there is of it.
bool copies_shared_memory();
/// In the frozen copy: its clones rebuild their memory again.
void begin_rebuilding_anew();

// ---- descriptors.cpp
bool plan_descriptors();
/// In the frozen copy: lets go of what only the master may hold, keeps what the clones will look at.
bool freeze_descriptors();
bool rebuild_descriptors();
/// When the clone has its threads: rings that bring another, what takes longer, and what is in epoll sets.
bool complete_descriptors();

// ---- exact_address.cpp
/// In a clone: maps a file over what is there, also where the kernel takes no address; or -errno.
long map_at_exactly(uint64_t start, uint64_t size, int protection, long fd, uint64_t offset);
/// When all is mapped: gives back what had to be filled for it.
void end_exact_mapping();

// ---- io_uring.cpp
/// Is the thread one of the kernel's that does work for a ring? They are listed among the program's.
bool works_for_a_ring(int proc_tid);

// ---- timers.cpp
bool plan_timers();
bool rebuild_timers();

// ---- lock_owners.cpp
/// In plain mode, in the copy of the program that the master waits for no more: searches all memory, whose threads have the master's ids.
bool find_lock_owners(CloneStatus &status);
bool patch_lock_owners();

// ---- frozen_copy.cpp
/// Copies the process, which then makes the clones while the master goes on. Returns when it has detached from the master.
bool make_frozen_copy();
/// Waits until it and its copies have made the clones and they have detached, too; then they are ours.
bool receive_clones();

// ---- spawner.cpp
/// This process's share of them.
bool spawn_clones();
/// In a helper or a clone: wakes up those who wait for clones.
void tell_progress();
/// Has the pidfd's process ended? A negative one's has.
bool has_ended(int pidfd);
/// Room for the clones' pidfds, of which there are none yet.
bool take_pidfds();
/// For people: what keeps the kernel from making a process, or "".
const char *why_no_process(int err);
/// Waits until its clones are at least in `state`; false with a failure when one failed or died. Negative: no
/// limit.
bool wait_for_clones(CloneState state, int timeout_ms);
/// Kills what was made and waits for it.
void kill_clones();
/// The same for clones that are held: closes the pidfds.
void kill_held(int *pidfds, int count);
/// Waits until no helper task runs in our memory.
void wait_for_helpers();

// ---- rebuild.cpp
/// The first thing a clone does, on a helper's stack: makes itself whole, waits at the gate, goes on as the
/// leader.
[[noreturn]] void rebuild_clone(int index, int parent);

// ---- probe.cpp
struct NamespaceTrial {
  int err;  ///< 0: it works
  const char *step;
};
/// Makes a task in its own user and pid namespace, which makes another with a chosen id.
NamespaceTrial try_namespaces();

// ---- stages.cpp
/// Records what the copies are made by. Threads are parked.
bool plan_process();
/// Waits until all copies are at least in this state, of a tree those of all processes. Negative: no limit.
bool wait_for_all(CloneState state, int limit_ms);
/// How long the parked master waits until its copies have their own memory and descriptors.
int copying_limit_ms();
/// The sequence, from parking to release: then the program goes on. False with the result's failure when nothing was cloned.
/// True: the result's index says where; a clone is complete.
bool run_parked_stages();
/// In the master, after that: until all clones are held. False with a failure when there are none.
bool run_last_stages();

}  // namespace gridcentric::live_clone
