// gc-reaper: the process between a clone and its master. It is the clone's parent (pid 1 of its namespace in pidns
// mode), ends when the clone ends, with the clone's exit status, and ends the clone when the lifeline closes. Killing
// it kills the clone (pid namespace, or PR_SET_PDEATHSIG). Everything that the clone left behind ends with it, except
// clones that the clone has made: those are domains themselves, and pid 1 of a namespace stays until those in it have
// ended. It has no C library: each clone has a reaper, so it must take no more than a page or two of memory and a
// fraction of a millisecond to start.
//   gc-reaper PID lifeline|free OFFSET    PID: the clone; lifeline: descriptor 0 is one; OFFSET: where the clone's part of
//                                         descriptor 2 is (live_clone/tree/page.hpp), 0: it is a single process
//   gc-reaper stand-in STATUS PID         ends with this wait status, if it is not negative; else as it is told by a signal.
//                                         PID: of the process that it stands for, to be read in /proc
// The second is a real child of a clone of a tree, in the place of one that became gc-reaper's (live_clone/tree/children.cpp).
// All signals have been blocked since before exec: the terminal's Ctrl-C goes to the clone, which decides.
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../live_clone/sys.hpp"
#include "../live_clone/tree/page.hpp"

namespace gridcentric::live_clone {
namespace {

[[noreturn]] void end(int code) {
  for (;;) sys(SYS_exit_group, code);
}

constexpr int page_descriptor = 2, status_signal = 34;
uint64_t offset_of_clone;  // in the page, 0: there is none

/// The processes that end as others do.
const tree::Clone *family() {
  static tree::Clone copy;
  const uint64_t size = sizeof copy;
  return offset_of_clone && sys(SYS_pread64, page_descriptor, &copy, size, offset_of_clone) == (long)size
             ? &copy
             : nullptr;
}

/// Tells those that wait for a process which has ended before the gate has opened: they give up.
void tell_of_death(long pid) {
  static bool told;
  const int number = (int)pid;
  if (offset_of_clone && !told)
    sys(SYS_pwrite64, page_descriptor, &number, sizeof number, offset_of_clone + offsetof(tree::Clone, died));
  told = true;
}

/// A child has ended, one of the tree: tells the one that stands for it.
void tell_stand_in(long pid, int status) {
  const tree::Clone *all = family();
  for (int i = 0; all && i < all->stand_in_count; i++) {
    if (all->stand_ins[i].pid != pid) continue;
    siginfo_t info = {};
    info.si_signo = status_signal;
    info.si_code = SI_QUEUE;
    info.si_pid = 1;
    info.si_value.sival_int = status;
    sys(SYS_rt_sigqueueinfo, all->stand_ins[i].stand_in, status_signal, &info);
  }
}

[[noreturn]] void end_as(int status) {
  const int signal = status & 0x7f;
  if (signal) {
    const uint64_t no_core[2] = {0, 0};
    sys(SYS_prlimit64, 0, 4 /* RLIMIT_CORE */, no_core, nullptr);
    const unsigned long by_default[4] = {};
    sys(SYS_rt_sigaction, signal, by_default, nullptr, 8);
    const unsigned long none = 0;
    sys(SYS_kill, sys(SYS_getpid), signal);
    sys(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, 8);
  }
  end(status >> 8);
}

[[noreturn]] void stand_in(int status) {
  const uint64_t told = 1ul << (status_signal - 1);
  siginfo_t info = {};
  while (status < 0)
    if (sys(SYS_rt_sigtimedwait, &told, &info, nullptr, 8) == status_signal) status = info.si_value.sival_int;
  end_as(status);
}

/// Reaps all children that have ended. True if the clone was among them.
bool reap(int clone, int *code) {
  bool ended = false;
  int status = 0;
  for (long pid; (pid = sys(SYS_wait4, -1, &status, WNOHANG | __WALL, nullptr)) > 0;) {
    tell_of_death(pid);
    tell_stand_in(pid, status);
    if (pid != clone) continue;
    ended = true;
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return ended;
}

/// A process's pid in our namespace. /proc may belong to an outer namespace: then the process has several numbers, one
/// for each namespace from that one to its own, and ours is at the index where we find our own pid. -1: it has ended.
long our_number(unsigned long proc_pid) {
  static char status[4096];
  int depth = 0;
  const auto numbers_of = [](const char *file) {
    return read_file(file, status, sizeof status) > 0 ? field(status, "NSpid:") : nullptr;
  };
  unsigned long number = 0;
  const auto next = [&number](const char *p) {
    while (*p == '\t') p++;
    return *p >= '0' && *p <= '9' ? parse_dec(p, &number) : nullptr;
  };
  for (const char *p = numbers_of("/proc/self/status"); p && (p = next(p));) depth++;
  const char *p = depth ? numbers_of(Path("/proc/", (long)proc_pid, "/status")) : nullptr;
  for (; p && depth; depth--) p = next(p);
  return p ? (long)number : -1;
}

/// By its command line: one whose process was killed just after it had made it is not in the page.
bool is_stand_in(unsigned long proc_pid) {
  static char line[64];
  if (read_file(Path("/proc/", (long)proc_pid, "/cmdline"), line, sizeof line) <= 0) return false;
  const char *p = line;
  while (*p) p++;
  return same_text(p + 1, "stand-in");
}

/// Is it another reaper, beside a clone that our clone has made?
bool is_reaper(unsigned long proc_pid) {
  if (is_stand_in(proc_pid)) return false;
  struct stat ours = {};
  struct stat its = {};
  return sys(SYS_newfstatat, AT_FDCWD, "/proc/self/exe", &ours, 0) == 0 &&
         sys(SYS_newfstatat, AT_FDCWD, (const char *)Path("/proc/", (long)proc_pid, "/exe"), &its, 0) == 0 &&
         ours.st_dev == its.st_dev && ours.st_ino == its.st_ino;
}

/// Kills the children, and those they leave behind, until only other reapers are left, which go on. When pid 1 of a
/// namespace ends, everything in the namespace ends: so it waits for the reapers, or ends at once if there are none.
void end_descendants() {
  static char list[65536];
  const bool first = sys(SYS_getpid) == 1;
  for (;;) {
    const long n = read_file("/proc/thread-self/children", list, sizeof list);
    if (n <= 0 && n != -ENOBUFS) return;
    if (n == -ENOBUFS) list[sizeof list - 1] = 0;
    bool reapers = false, others = false;
    for (const char *p = list; *p >= '0' && *p <= '9'; p += *p == ' ') {
      unsigned long pid;
      p = parse_dec(p, &pid);
      if (is_reaper(pid)) {
        reapers = true;
        continue;
      }
      others = true;
      if (const long number = our_number(pid); number > 0) sys(SYS_kill, number, SIGKILL);
    }
    if (first ? !reapers : !others) return;
    if (sys(SYS_wait4, -1, nullptr, __WALL, nullptr) < 0) return;
  }
}

[[noreturn]] void watch(int clone, bool lifeline) {
  uint64_t child = 1ul << (SIGCHLD - 1);
  const int signals = (int)sys(SYS_signalfd4, -1, &child, 8, O_CLOEXEC | O_NONBLOCK);
  int code = 0;
  for (bool killed = false;;) {
    if (reap(clone, &code)) break;
    // Only the closing of the other end counts (HUP, or RDHUP once everything is read), not bytes sent.
    pollfd p[2] = {{signals, POLLIN, 0}, {0, POLLRDHUP, 0}};
    const timespec often{0, 20'000'000};  // if a filter refuses signalfd4: poll
    const long n = sys(SYS_ppoll, p, lifeline && !killed ? 2 : 1, signals < 0 ? &often : nullptr, nullptr, 8);
    if (n <= 0) continue;
    char drop[128];
    if (p[0].revents) sys(SYS_read, signals, drop, sizeof drop);
    if (p[1].revents) {
      sys(SYS_kill, clone, SIGKILL);
      killed = true;
    }
  }
  end_descendants();
  end(code);
}

}  // namespace

extern "C" [[noreturn]] __attribute__((used)) void gc_reaper_main(long *stack) {
  char **argv = reinterpret_cast<char **>(stack + 1);
  if (stack[0] == 4 && same_text(argv[1], "stand-in")) {
    const bool has_ended = argv[2][0] != '-';
    unsigned long status = 0;
    parse_dec(argv[2], &status);
    stand_in(has_ended ? (int)status : -1);
  }
  if (stack[0] != 4) {
    static constexpr char usage[] =
        "gc-reaper is started by libgridcentric beside each clone; do not run it yourself\n";
    sys(SYS_write, 2, usage, sizeof usage - 1);
    end(2);
  }
  unsigned long clone;
  parse_dec(argv[1], &clone);
  parse_dec(argv[3], &offset_of_clone);
  // A clone that ended before this line is reaped by the first reap().
  watch((int)clone, same_text(argv[2], "lifeline"));
}

}  // namespace gridcentric::live_clone

#if defined(__x86_64__)
asm(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call gc_reaper_main\n hlt\n");
#elif defined(__aarch64__)
asm(".globl _start\n_start: mov x29, #0\n mov x0, sp\n bl gc_reaper_main\n brk #0\n");
#endif

// The compiler calls these for copies and zeroing of objects.
extern "C" __attribute__((used)) void *memset(void *to, int value, unsigned long n) {
  volatile char *p = static_cast<volatile char *>(to);
  while (n--) *p++ = (char)value;
  return to;
}
extern "C" __attribute__((used)) void *memcpy(void *__restrict to, const void *__restrict from,
                                              unsigned long n) {
  volatile char *p = static_cast<volatile char *>(to);
  const char *q = static_cast<const char *>(from);
  while (n--) *p++ = *q++;
  return to;
}
