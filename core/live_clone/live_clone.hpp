// The live clone engine: fork() for a whole multi-threaded process, including all its threads, in user space. The calling
// process is the master; clone() makes N copies of it that come up held: ready, but not yet running the program's code.
// commit() lets them go, abort() ends them. Knows Linux and the C library; knows nothing about tickets, hosts, families or
// languages: core/guest and core/hypervisors/process do. Start reading at stages.cpp, which has the sequence;
// docs/live-clone.md gives the overview.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "answer.hpp"

namespace gridcentric::live_clone {

/// How a clone keeps (or does not keep) the identity of its master.
enum class Mode {
  pidns,  ///< its own user and pid namespace: the pid and all thread ids stay as they are in the master
  plain,  ///< an ordinary child: new pid and thread ids; lock owners in memory are patched (glibc only)
};

/// The name of a mode: "pidns" or "plain".
const char *mode_name(Mode mode);

/// Which mode works on this computer, and why ("pidns: ..." or the error of the call that was refused).
struct Probe {
  Mode mode;
  std::string why;
};

/// Tries a user + pid namespace with a chosen thread id in a child process, once per process; later calls
/// return the stored answer (a clone keeps its master's). Takes about a millisecond the first time.
/// Thread-safe. Never fails: `why` says what does not work.
Probe probe();

/// One reason why a process cannot be cloned: an errno value, and a text that names the descriptor, thread or mapping, what
/// was expected and what to do.
struct Refusal {
  int err;
  std::string what;
};

/// What would happen if the process were cloned now, or a tree of processes.
struct Preflight {
  struct Process {
    int proc_pid;         ///< as /proc names it
    std::string heading;  ///< how a line about it begins; "" for the root, or a process alone
  };
  bool can_clone = false;
  std::vector<Refusal> refusals;   ///< empty when can_clone
  std::vector<std::string> notes;  ///< what the clone would lack, one line for each
  size_t threads = 0;              ///< of all its processes
  size_t descriptors = 0;
  std::vector<Process> processes;  ///< of a tree: those that were examined, the root first
};

/// Examines the calling process without stopping anyone. Thread-safe; what it saw may have changed a moment
/// later, so clone() looks again.
Preflight preflight(Mode mode);

/// The same from outside, for `gc check PID`, as far as /proc/PID can be read. What cannot be read becomes a note; a process
/// that does not exist or belongs to another user is a refusal (ESRCH, EACCES). Thread-safe.
Preflight preflight_of(int pid, Mode mode);

/// The same for a tree, whose root /proc names `root`, and which may be this process's. A process other than the root is named at the
/// beginning of a line. `left_out`: a process of it that isn't cloned, as /proc names it: the one that asks. Thread-safe.
Preflight preflight_of_tree(int root, Mode mode, int left_out = 0);

/// Only which processes would be examined: quick. Thread-safe.
std::vector<Preflight::Process> processes_of_tree(int root);

/// A pipe that only others write to, by its device and inode: the program waits to read from it what a child process says, and in
/// the clones there is no such child. Each clone reads its answer there, and then end-of-file.
struct AnswerPipe {
  uint64_t device = 0, inode = 0;
  std::vector<Answer> answers;  ///< one for each clone; empty: no pipe is meant
};

/// What to make.
struct Order {
  Mode mode = Mode::pidns;
  /// One IPv4 address (host byte order, in 127.0.0.0/8) for each clone; as many clones are made, 1..1024.
  std::vector<uint32_t> addresses;
  /// Path of the gc-reaper binary.
  std::string reaper_path;
  /// A connected socket (or pipe) to the owner of the clones. When its other end closes, every clone of this order is killed.
  /// Each clone's reaper inherits it; the clone itself does not. -1: none. The caller's own descriptor stays the caller's.
  int lifeline = -1;
  /// More of the caller's descriptors that no clone may have (its connection to the host, say).
  std::vector<int> private_descriptors;
  /// Plain mode: mappings of at least this size hold no locks of the process (they are the RAM of a machine that it emulates,
  /// whose contents may look like the process's locks). 0: there are no such mappings.
  size_t no_locks_from = 0;
  /// Plain mode: a piece of anonymous memory that begins with this number, at a multiple of it, and is that many bytes long
  /// holds no locks either (it is a chunk of a garbage-collected heap). A multiple of the page size. 0: there are none.
  size_t no_locks_in_chunks = 0;
  /// How long to wait for every thread to stop, in milliseconds. The error names a thread that does not.
  int park_timeout_ms = 3000;
  /// Runs the function it is given: a wait during which the program must be able to go on (for the end of a transaction).
  /// Releases beforehand what the caller holds of the program, an interpreter's lock say, and takes it again afterwards. May
  /// throw: then clone() has made no clones. Empty: the caller holds nothing.
  std::function<void(const std::function<void()> &)> let_go_during;
  /// Runs in the master when its threads run again, while the last clones are still being made: what was held of the
  /// program for the copy may go on. Must not throw. Empty: nothing was held.
  std::function<void()> released;
  /// A dead end in which an answer waits.
  AnswerPipe answer_pipe;
  /// More descriptors that stay shared with the master, as 0, 1 and 2 do: a shell has set these aside and will put them back.
  std::vector<int> standard_streams;
  /// Clones every process below the caller's with it, as one tree; pidns mode only. Each must have been prepared (expect_signal()).
  bool with_children = false;
  /// Of these processes, as /proc names them, some that are not cloned: the one that asked for it, say.
  std::vector<int> left_out;
  /// For tests: the clone with this index (1..N) fails while it is rebuilt. 0: none.
  int fail_at = 0;
};

/// Where the time went, in milliseconds. clone_* are those of the slowest clone.
struct StageTimes {
  double preflight_ms = 0;    ///< looking for what cannot be cloned; no thread is stopped yet
  double park_ms = 0;         ///< all threads stopped
  double plan_ms = 0;         ///< mappings, descriptors, timers read
  double dofork_ms = 0;       ///< MADV_DOFORK sweep
  double descriptors_ms = 0;  ///< the part of plan_ms for descriptors
  double locks_ms = 0;        ///< plain only, after the pause: search for locks that hold a thread id
  double fork_ms = 0;         ///< N reapers and clones forked
  double pause_ms = 0;  ///< first thread stopped -> threads released: what the program in the master notices
  double ready_ms = 0;  ///< call -> all clones held at the gate
  double clone_memory_ms = 0;       ///< in the clone: shared memory copied
  double clone_descriptors_ms = 0;  ///< in the clone: descriptors replaced
  double clone_threads_ms = 0;      ///< in the clone: threads, timers, locks
};

/// Where one of the program's internet sockets receives: a listener, or a UDP socket that is not connected.
struct BoundPort {
  bool tcp, v6;
  uint16_t port;
};

/// The outcome of clone().
struct Outcome {
  /// 0 in the master, k (1..N) in clone k; -1 on failure: no clone was made, everything is undone, the master goes on.
  int index = -1;
  /// On failure: EBUSY (another clone() is running, clones are held, or a file is locked for a transaction), EINVAL (bad
  /// order), EOPNOTSUPP (refused, see message), ETIMEDOUT (a thread did not stop), EAGAIN or ENOMEM (a system limit), ECHILD
  /// (a clone died while it was rebuilt), or the error of the clone that failed.
  int err = 0;
  std::string message;
  /// Master only: for each clone one O_CLOEXEC pidfd, that of its reaper: readable when the clone has ended; SIGKILL sent
  /// through it ends the clone. The caller owns them, unless abort() closes them.
  std::vector<int> pidfds;
  /// Master only: where the sockets of each clone are bound on its address, one entry per socket.
  std::vector<BoundPort> ports;
  StageTimes times;
  std::vector<std::string> degraded;  ///< what the clones lack, one line for each
  size_t threads = 0;
  size_t descriptors = 0;
  /// Clone only: the thread pointers of all its threads, for code that corrects thread-local data.
  std::vector<uintptr_t> thread_pointers;
};

/// Clones the calling process. Any thread may call it. Returns in the master when all clones are held at the gate (all or
/// none), and in each clone when the master commits. Exactly one of commit() and abort() must follow in the master; a held
/// clone whose master dies first ends by itself. The program's signal handlers do not run on the calling thread during the
/// call. One call at a time per process; others fail with EBUSY.
Outcome clone(const Order &order);

/// In every process that may be cloned as part of a tree, before main(): prepares it for the signal of the tree's root. `repair`
/// runs in its copies, on the main thread, as soon as that waits for something and so holds no lock; null: nothing does.
void expect_signal(void (*repair)());

/// Threads share an alternate signal stack: from the next clone on, the signal that stops them comes on their own stacks. Otherwise it
/// comes on the alternate ones, as programs need it whose own stacks are small (Go, Erlang).
void take_signal_on_own_stacks();

/// Master: opens the gate. Does nothing if no clones are held.
void commit();

/// Master: kills the held clones, waits until they are gone and closes their pidfds. Does nothing if none are held.
void abort();

}  // namespace gridcentric::live_clone
