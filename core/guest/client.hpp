// The guest client: every call of the API as a C++ function. The C API, gc, the Python module and the Node addon are
// made of this file and need nothing else of core/guest.
// It must not know: a language, the rules (the host decides everything), how a process is cloned.
//
// Errors: every function throws gridcentric::guest::Error; its code is a GC_E_* of gc-guest.h, or error_cancelled.
// Threads: every function may be called from any thread at any time; a call that waits holds no lock.
// Times are milliseconds: 0 tries once, a negative one waits for ever.
// Forked children (plain fork()) and clones need no care: each call works there at once.
#pragma once
#include <gridcentric/gc-guest.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/generators/findings.hpp"

namespace gridcentric::guest {

// The code of a call that was taken back by Call::cancel() or by its hook. Not in errors.def: the caller asked for it and
// knows. It never comes out of the C API.
inline constexpr int error_cancelled = EINTR;

struct Error : std::exception {
  int code;          // GC_E_*, or error_cancelled
  std::string text;  // what was given, what was expected, what to do

  Error(int code, std::string text) : code(code), text(std::move(text)) {}
  const char *what() const noexcept override { return text.c_str(); }
};

// One row of errors.def, for bindings that make their classes and codes of it.
struct ErrorRow {
  const char *name;         // "TIMED_OUT"
  const char *word;         // "timed_out", as on the wire
  int code;                 // GC_E_TIMED_OUT
  int exit;                 // exit code of gc
  const char *python;       // "TimedOut"
  const char *python_base;  // "TimeoutError"
  const char *text;         // "timed out"
};
const std::vector<ErrorRow> &error_table();
const ErrorRow *find_error(int code);               // nullptr: not in the table
const ErrorRow *find_error(std::string_view word);  // the same, by the word on the wire

// A call that can be taken back. Give it to at most one call at a time; it must outlive that call.
// A cancelled call has no effect on the host: a ticket that was granted while the cancel was on its way is released.
// Only clone() may win: when the clones are there already it returns as if there had been no cancel.
class Call {
 public:
  Call();
  ~Call();
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  // From any thread, also before the call begins (it then fails at once), also twice. Never blocks.
  void cancel() noexcept;
  bool cancelled() const noexcept;

  // Runs in the waiting thread each time a signal handler has interrupted the wait, and every quarter of a second (a signal
  // that arrives between two polls interrupts none); true gives up (error_cancelled).
  // May throw; the call is taken back first and the exception then leaves the call. Set it before the call.
  std::function<bool()> on_wait_interrupted;

  int wakeup_fd() const noexcept { return fd_; }  // readable once cancelled; for the client itself

 private:
  int fd_;
};

struct TicketInfo {
  std::string id;
  gc_ticket_status_t status;
  int cpus;
  int vms;
  int mincpuspervm;
};

struct Domain {
  int vmid;
  int parent;          // -1: the master has none
  std::string ip;      // numeric
  std::string ticket;  // the ticket it was made with
  std::string state;   // "starting", "running", "ending"
};

struct Result {
  int vmid;
  gc_end_kind_t how;
  int status;                         // exit code (exited), signal (killed), else 0
  std::optional<std::string> report;  // any bytes; nullopt: ended without one
};

struct Identity {
  std::string family;
  int vmid;
  std::string ip;
  int parent;              // -1: the master has none
  std::string hypervisor;  // its name
};

// What a call means is said in gc-guest.h; an argument that is out of range is GC_E_INVALID_ARGUMENT.
std::string request_ticket(int maxcpus, int minvms, int mincpuspervm, int timeout, Call *call = nullptr);
void release_ticket(const std::string &ticket, Call *call = nullptr);

// Shortens the pause of the next clone(): moves this process's memory into huge pages, for at most `timeout`. Returns how many MiB
// are in huge pages. A cancelled call leaves those that there are. See preparing.hpp.
int prepare(int timeout, Call *call = nullptr);

std::vector<TicketInfo> list_tickets(Call *call = nullptr);
TicketInfo ticket_info(const std::string &ticket, Call *call = nullptr);

// 0 in the caller, the vmid in each clone. In the caller first of all: the handlers of before_clone(). In each clone, before
// it returns: the handlers of on_clone(), then the post-clone hook. found_by_binding: see explain(); with GRIDCENTRIC_STRICT
// they are refused.
int clone(const std::string &ticket, Call *call = nullptr,
          const std::vector<generators::Repeating> &found_by_binding = {});

// Orders domain `vmid` of this family, which must listen for orders, to clone itself with a ticket of this domain's, which
// becomes that domain's. Returns the clones when they are there. A cancelled call leaves an order that it has given as it is.
std::vector<Domain> clone_of(int vmid, const std::string &ticket, Call *call = nullptr);

// Listens for orders from now on, also in the clones; a thread does, which carries them out by clone(ticket). Again: nothing.
// Throws INVALID_ARGUMENT in a child of the domain's own process.
void serve(Call *call = nullptr);
// Orders are carried out this way instead, in the thread that listens. What it throws declines the order. asker: the process
// that gave it, as the host sees it.
using CarryOut = std::function<void(const std::string &ticket, int asker)>;
void carry_out_orders_with(CarryOut how);

// clone() for a child process that has asked for it, which clones do not have.
struct ForChild {
  // The pipe from which the program reads its output, if there is one (inode not 0): each clone reads its vmid and a newline
  // there, and then end-of-file.
  std::uint64_t device = 0, inode = 0;
  // Descriptors that stay shared with the caller, as 0, 1 and 2 do.
  std::vector<int> standard_streams;
  // The child, as /proc names it.
  int pid = 0;
};
int clone_for_child(const std::string &ticket, const ForChild &child);

// Are this process's children cloned with it (`gc run --tree`)? Otherwise they stay with the master. Thread-safe.
bool children_are_cloned() noexcept;

// From memory, below a microsecond; only a process's first call asks the host (and may start a private one).
int vmid(Call *call = nullptr);
bool ismaster(Call *call = nullptr);
std::string my_ip(Call *call = nullptr);
Identity identity(Call *call = nullptr);

// How often this process has become another domain: 0, and one more in each clone. Never asks the host.
unsigned generation() noexcept;

std::vector<Domain> list_domains(Call *call = nullptr);
void sync(const std::optional<std::string> &ticket, int timeout, Call *call = nullptr);

// Ends the process: exit code 0, stdio of C flushed, no exit handlers. A binding flushes its own buffers before.
[[noreturn]] void join(std::optional<std::string_view> report, Call *call = nullptr);

// forget: once the results are here the host forgets the ticket, and its reports with it.
std::vector<Result> wait(const std::string &ticket, int timeout, Call *call = nullptr, bool forget = false);
// What wait() does then. Throws nothing: the results have been read, the host may be gone or have forgotten the ticket by itself.
void forget(const std::string &ticket);
void kill(int vmid, Call *call = nullptr);

// Runs in the thread that calls clone(), before the host is asked and anybody is stopped, in the order of registration; what it
// throws leaves clone(): the others don't run, no clone is made and the ticket is as it was.
void before_clone(std::function<void()> handler);

// Runs in each clone, in the thread that called clone(), in the order of registration; what it throws leaves clone().
void on_clone(std::function<void(int vmid)> handler);

// In a copied process: the thread pointers of the threads that it was copied with; empty in a master and in a VM. For handlers
// of on_clone(): later the threads may have ended.
const std::vector<std::uintptr_t> &thread_pointers() noexcept;

// Brackets the moment in which this process is copied, in the thread that called clone(): before() runs right before,
// after() in the caller as soon as its threads run again, and in each clone after the handlers of on_clone(). A binding
// holds its interpreter still with it, so that no code of the program runs in a clone before those handlers have.
// What before() throws leaves clone(), no clone is made; after() must not throw. Hypervisors that copy whole machines
// don't come by here.
void around_copy(std::function<void()> before, std::function<void()> after);

// Tells how the program's garbage-collected heap looks: in chunks that begin with their size in bytes, at multiples of it, and
// hold no locks of the C library, so that plain mode need not search them. A multiple of the page size. Thread-safe.
void no_locks_in_chunks(std::size_t size) noexcept;

struct Explanation {
  bool can_clone;
  std::string report;  // one line a finding, each with its newline
};
// Preflight of this process alone: nothing is stopped or changed. found_by_binding: generators of random numbers that repeat
// in clones and that only the language's runtime can see.
Explanation explain(const std::vector<generators::Repeating> &found_by_binding = {});

// KEY VALUE of the host: version, protocol, hypervisor, mode, why, cpus, cpus_free, families, domains, pid, supports.
std::vector<std::pair<std::string, std::string>> host_info(Call *call = nullptr);

const char *ticket_status_name(gc_ticket_status_t status) noexcept;  // "unknown" out of range
const char *end_kind_name(gc_end_kind_t how) noexcept;

// The gc command is a stranger in the domain it runs in: it never becomes a master and never starts a host. Once, before
// the first call.
void ask_only() noexcept;
// It speaks for the domain of this process, at this host, from now on.
void ask_about(int pid, const std::string &host_path);

}  // namespace gridcentric::guest
