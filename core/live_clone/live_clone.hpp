// The live clone engine: fork() for a whole multi-threaded process, all its threads included, in user space.
// The calling process is the master; clone() makes N copies of it that come up HELD, ready but running no
// code of the program; commit() lets them go, abort() ends them. Knows Linux and the C library; knows nothing
// of tickets, hosts, families or languages: that is the business of core/guest and core/hypervisors/process/process.
// Start reading at stages.cpp, which is the sequence; docs/live-clone.md has the picture.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace gridcentric::live_clone {

/// How a clone keeps (or does not keep) the identity of its master.
enum class Mode {
  pidns,  ///< a user and pid namespace of its own: pid and all thread ids stay as they are in the master
  plain,  ///< a plain child: new pid and thread ids; lock owners in memory are patched (glibc only)
};

/// Text of a mode: "pidns" or "plain".
const char *mode_name(Mode mode);

/// Which mode works on this machine, and why ("pidns: ..." or the errno text of what refused it).
struct Probe {
  Mode mode;
  std::string why;
};

/// Tries a user + pid namespace with a chosen thread id in a child process, once per process; later calls
/// return the stored answer (a clone keeps its master's). Takes about a millisecond the first time.
/// Thread-safe. Never fails: what does not work is said in `why`.
Probe probe();

/// One reason why a process can't be cloned: an errno value and a text that names the descriptor, thread or
/// mapping, what was expected and what to do.
struct Refusal {
  int err;
  std::string what;
};

/// What would happen if the process cloned now.
struct Preflight {
  bool can_clone = false;
  std::vector<Refusal> refusals;   ///< empty when can_clone
  std::vector<std::string> notes;  ///< what the clone would get in a degraded form, one readable line each
  size_t threads = 0;
  size_t descriptors = 0;
};

/// Examines the calling process without stopping anyone. Thread-safe; what it saw may have changed a moment
/// later, so clone() looks again.
Preflight preflight(Mode mode);

/// The same from outside, for `gc check PID`, as far as /proc/PID may be read; what could not be looked at is
/// a note, a process that does not exist or belongs to someone else is a refusal (ESRCH, EACCES).
/// Thread-safe.
Preflight preflight_of(int pid, Mode mode);

/// What to make.
struct Order {
  Mode mode = Mode::pidns;
  /// One IPv4 address (host byte order, of 127.0.0.0/8) for each clone; their number is the number of
  /// clones, 1..1024.
  std::vector<uint32_t> addresses;
  /// Path of the gc-reaper binary.
  std::string reaper_path;
  /// A connected socket (or pipe) to whoever answers for the clones. When its other end closes, every clone
  /// of this order is killed. Each clone's reaper inherits it, the clone itself does not. -1: nobody. The
  /// caller keeps and closes its own.
  int lifeline = -1;
  /// More descriptors of the caller's that no clone may have (its connection to the host, say).
  std::vector<int> private_descriptors;
  /// Plain mode: mappings of at least so many bytes hold no locks of the process (they are the RAM of a machine that
  /// it emulates, in which locks of others may look like its own). 0: there are none.
  size_t no_locks_from = 0;
  /// How long to wait for every thread to come to a stop, milliseconds. A thread that does not is named in
  /// the error.
  int park_timeout_ms = 3000;
  /// Runs what it is given, a wait in which the program has to go on (for the end of a transaction): lets go before what
  /// the caller holds of the program, an interpreter's lock say, and takes it again after. May throw: then clone() has
  /// not cloned. Empty: the caller holds nothing.
  std::function<void(const std::function<void()> &)> let_go_during;
  /// For tests: the clone of this index (1..N) fails while it is rebuilt. 0: none.
  int fail_at = 0;
};

/// Where the time went, milliseconds. clone_* are those of the slowest clone.
struct StageTimes {
  double preflight_ms = 0;    ///< looking for what can't be cloned; nobody is stopped yet
  double park_ms = 0;         ///< all threads stopped
  double plan_ms = 0;         ///< mappings, descriptors, timers read
  double dofork_ms = 0;       ///< MADV_DOFORK sweep
  double descriptors_ms = 0;  ///< of plan_ms: the descriptors
  double locks_ms = 0;        ///< plain only: search for locks that remember a thread id
  double fork_ms = 0;         ///< N reapers and clones forked
  double pause_ms = 0;  ///< first thread stopped -> threads released: what the program in the master feels
  double ready_ms = 0;  ///< call -> all clones held at the gate
  double clone_memory_ms = 0;       ///< in the clone: shared memory copied
  double clone_descriptors_ms = 0;  ///< in the clone: descriptors replaced
  double clone_threads_ms = 0;      ///< in the clone: threads, timers, locks
};

/// Where an internet socket of the program's takes what comes: a listener, or a UDP socket that is not connected.
struct BoundPort {
  bool tcp, v6;
  uint16_t port;
};

/// What came of clone().
struct Outcome {
  /// 0 in the master, 1..N in clone k; -1 on failure: nobody was cloned, everything is undone, the master
  /// goes on.
  int index = -1;
  /// On failure: EBUSY (a clone() or held clones are under way, or a file is locked for a transaction), EINVAL (bad order), EOPNOTSUPP (refused, see
  /// message), ETIMEDOUT (a thread did not stop), EAGAIN/ENOMEM (a limit of the system), ECHILD (a clone died
  /// while it was rebuilt), or what the k-th clone failed with.
  int err = 0;
  std::string message;
  /// Master only: one O_CLOEXEC pidfd for each clone, of its reaper: readable when the clone has ended,
  /// SIGKILL sent through it ends the clone. The caller's to keep and close (abort() closes them).
  std::vector<int> pidfds;
  /// Master only: where sockets of each clone are bound on its address, one entry a socket.
  std::vector<BoundPort> ports;
  StageTimes times;
  std::vector<std::string> degraded;  ///< what the clones have in a degraded form, one readable line each
  size_t threads = 0;
  size_t descriptors = 0;
  /// Clone only: the thread pointers of all its threads, for who corrects what a thread keeps for itself.
  std::vector<uintptr_t> thread_pointers;
};

/// Clones the calling process. May be called by any thread. Returns in the master when all clones are held at
/// the gate (all or none), in each clone when the master commits. Exactly one of commit() and abort() must
/// follow in the master; a held clone whose master dies first ends by itself. Signal handlers of the program
/// do not run on the calling thread while it is here. One call at a time per process; others get EBUSY.
Outcome clone(const Order &order);

/// Master: opens the gate. Does nothing when no clones are held.
void commit();

/// Master: kills the held clones, waits until they are gone and closes their pidfds. Does nothing when none
/// are held.
void abort();

}  // namespace gridcentric::live_clone
