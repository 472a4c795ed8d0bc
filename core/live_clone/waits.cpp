// The signal that parks a thread ends the system call that it waits in, and many calls then return EINTR that never do in a
// program without signals. So every wait goes on, in the master and in clones:
//   - without a limit, until a point in time, or with a limit whose rest the kernel writes back: the frame makes the same
//     call again;
//   - with a limit: once released, the thread makes the call from within the signal handler for the time that is left, with
//     the program's signal mask, and the frame gets the result. If another parking interrupts this wait, it begins again.
// No call says how long a thread has waited; sleepers.cpp finds it out. Runs while threads are parked: see sys.hpp.
#include "waits.hpp"

#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "engine.hpp"
#include "program_memory.hpp"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441  // Linux 5.11
#endif

namespace gridcentric::live_clone {
namespace {

constexpr int64_t second = 1'000'000'000, millisecond = 1'000'000;
constexpr unsigned ext_arg = 1u << 3, absolute_timer = 1u << 5,
                   registered_arg = 1u << 6;  // of io_uring_enter

enum class Repeat {
  never,         // unknown call
  as_it_was,     //
  milliseconds,  // the argument is the limit
  timespec,      // it points to the limit
  ring,          // it points to an io_uring_getevents_arg, which points to the limit
  receiving,     // SO_RCVTIMEO of the socket that is the first argument is the limit, if it is a socket
  sending,       // SO_SNDTIMEO
};

struct Rule {
  Repeat repeat;
  int argument = 0;
};

// A negative result is a null pointer, or a limit of -1: none.
Rule limited(const arch::WaitingCall &call, Repeat repeat, int argument) {
  const uint64_t value = call.args[argument];
  const bool none = repeat == Repeat::milliseconds ? (int)value < 0 : value == 0;
  return none ? Rule{Repeat::as_it_was} : Rule{repeat, argument};
}

Rule rule_of_futex(const arch::WaitingCall &call) {
  switch (call.args[1] & ~uint64_t(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)) {
    case FUTEX_WAIT:
      return limited(call, Repeat::timespec, 3);
    case FUTEX_WAIT_BITSET:
      return {Repeat::as_it_was};
    default:
      return {Repeat::never};
  }
}

Rule rule_of_ring(const arch::WaitingCall &call) {
  const uint64_t flags = call.args[3];
  const bool has_limit = (flags & ext_arg) && !(flags & (absolute_timer | registered_arg));
  return has_limit ? limited(call, Repeat::ring, 4) : Rule{Repeat::as_it_was};
}

// The calls that return EINTR after a signal handler has run, even one with SA_RESTART (signal(7)), and which of their
// arguments is the limit.
Rule rule_of(const arch::WaitingCall &call) {
  switch (call.number) {
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
      return limited(call, Repeat::milliseconds, 3);
    case SYS_poll:
      return limited(call, Repeat::milliseconds, 2);
    case SYS_select:  // like ppoll and pselect6, it writes back how much is left
    case SYS_pause:
#endif
    case SYS_ppoll:
    case SYS_pselect6:
    case SYS_rt_sigsuspend:
    case SYS_msgrcv:
    case SYS_msgsnd:
    case SYS_semop:
      return {Repeat::as_it_was};
    case SYS_epoll_pwait:
      return limited(call, Repeat::milliseconds, 3);
    case SYS_epoll_pwait2:
    case SYS_semtimedop:
      return limited(call, Repeat::timespec, 3);
    case SYS_nanosleep:
      return limited(call, Repeat::timespec, 0);
    case SYS_clock_nanosleep:
      return call.args[1] & TIMER_ABSTIME ? Rule{Repeat::as_it_was} : limited(call, Repeat::timespec, 2);
    case SYS_rt_sigtimedwait:
      return limited(call, Repeat::timespec, 2);
    case SYS_io_getevents:
    case SYS_io_pgetevents:
      return limited(call, Repeat::timespec, 4);
    case SYS_futex:
      return rule_of_futex(call);
    case SYS_io_uring_enter:
      return rule_of_ring(call);
    case SYS_read:
    case SYS_readv:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_accept:
    case SYS_accept4:
      return {Repeat::receiving};
    case SYS_write:
    case SYS_writev:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_sendmmsg:
    case SYS_sendfile:
    case SYS_connect:
      return {Repeat::sending};
    default:
      return {Repeat::never};
  }
}

int64_t nanoseconds(const timespec &t) {
  constexpr int64_t longest = INT64_MAX / 4 / second;
  return (t.tv_sec < longest ? t.tv_sec : longest) * second + t.tv_nsec;
}

timespec time_of(int64_t nanoseconds) {
  if (nanoseconds < 0) nanoseconds = 0;
  return {(time_t)(nanoseconds / second), (long)(nanoseconds % second)};
}

// Negative if there is none, or if it cannot be read: the program may have passed a bad pointer.
int64_t limit_of(const arch::WaitingCall &call, const Rule &rule) {
  switch (rule.repeat) {
    case Repeat::milliseconds:
      return int64_t((int)call.args[rule.argument]) * millisecond;
    case Repeat::receiving:
    case Repeat::sending: {
      timeval limit{};
      unsigned size = sizeof limit;
      if (sys(SYS_getsockopt, (int)call.args[0], SOL_SOCKET,
              rule.repeat == Repeat::receiving ? SO_RCVTIMEO : SO_SNDTIMEO, &limit, &size) < 0)
        return -1;
      const int64_t all = nanoseconds({limit.tv_sec, limit.tv_usec * 1000});
      return all ? all : -1;
    }
    case Repeat::timespec:
    case Repeat::ring: {
      const ProgramMemory memory;
      uint64_t at = call.args[rule.argument];
      io_uring_getevents_arg argument{};
      if (rule.repeat == Repeat::ring)
        at = memory.read(at, &argument, sizeof argument) == sizeof argument ? argument.ts : 0;
      timespec limit{};
      return at && memory.read(at, &limit, sizeof limit) == sizeof limit ? nanoseconds(limit) : -1;
    }
    default:
      return -1;
  }
}

// Where a sleep writes how much time is left if a signal interrupts it; null: nowhere.
timespec *rest_of_sleep(const arch::WaitingCall &call) {
  const bool plain = call.number == SYS_nanosleep;
  if (!plain && call.number != SYS_clock_nanosleep) return nullptr;
  return reinterpret_cast<timespec *>(call.args[plain ? 1 : 3]);
}

// Where the kernel has written how much is left of a wait that the frame makes again; 0: nowhere.
uint64_t written_rest(const arch::WaitingCall &call) {
  switch (call.number) {
#ifdef SYS_select
    case SYS_select:
#endif
    case SYS_pselect6:
      return call.args[4];
    case SYS_ppoll:
      return call.args[2];
    default:
      return 0;
  }
}

// The wait goes on while its thread is stopped: takes that time from what is left. Memory that cannot be written stays as it is,
// as the kernel leaves it.
void count_the_stop(const Wait &w) {
  const uint64_t at = written_rest(w.call);
  timespec rest{};
  if (!at || ProgramMemory().read(at, &rest, sizeof rest) != sizeof rest) return;
#ifdef SYS_select
  const long unit = w.call.number == SYS_select ? 1000 : 1;  // it has microseconds
#else
  const long unit = 1;
#endif
  rest = time_of(nanoseconds({rest.tv_sec, rest.tv_nsec * unit}) - (now_ns() - w.stopped_at));
  rest.tv_nsec /= unit;
  const iovec ours{&rest, sizeof rest}, theirs{reinterpret_cast<void *>(at), sizeof rest};
  sys(SYS_process_vm_writev, sys(SYS_getpid), &ours, 1, &theirs, 1, 0);
}

// Is a signal pending that came while all were blocked, and is not ignored? Then the call has to end as it would have.
bool signal_is_due(const ucontext_t *frame) {
  unsigned long pending = 0, blocked = 0;
  sys(SYS_rt_sigpending, &pending, 8);
  __builtin_memcpy(&blocked, &frame->uc_sigmask, sizeof blocked);
  constexpr unsigned long ignored_by_default =
      1ul << (SIGCHLD - 1) | 1ul << (SIGCONT - 1) | 1ul << (SIGURG - 1) | 1ul << (SIGWINCH - 1);
  pending &= ~(1ul << (park_signal - 1));  // the next clone() has begun: that interrupts nothing
  for (unsigned long due = pending & ~blocked; due; due &= due - 1) {
    const int signal = __builtin_ctzl(due) + 1;
    void *action[4] = {};  // the handler is the first member
    if (sys(SYS_rt_sigaction, signal, nullptr, action, 8) < 0) continue;
    if (action[0] == (void *)SIG_IGN) continue;
    if (action[0] != (void *)SIG_DFL || !(ignored_by_default >> (signal - 1) & 1)) return true;
  }
  return false;
}

// A wait that goes on within the handler. Its address is kept in a register during the call (arch.hpp).
struct Resumed {
  std::atomic<bool> parked_again;
};

long wait_for(const Wait &w, const Rule &rule, Resumed &resumed) {
  const int64_t rest = w.deadline - now_ns();
  timespec limit = time_of(rest);
  arch::WaitingCall call = w.call;
  uint64_t &argument = call.args[rule.argument];
  io_uring_getevents_arg ring_argument;
  switch (rule.repeat) {
    case Repeat::milliseconds:
      argument = rest > 0 ? uint64_t((rest + millisecond - 1) / millisecond) : 0;
      break;
    case Repeat::ring:
      __builtin_memcpy(&ring_argument, reinterpret_cast<void *>(argument), sizeof ring_argument);
      ring_argument.ts = (uint64_t)&limit;
      argument = (uint64_t)&ring_argument;
      break;
    default:
      argument = (uint64_t)&limit;
  }
  return arch::gc_wait_call(call.number, call.args, &resumed);
}

// Waits until the socket is ready for the call, which the frame then repeats.
long wait_for_socket(const Wait &w, const Rule &rule, Resumed &resumed) {
  pollfd p{(int)w.call.args[0], short(rule.repeat == Repeat::receiving ? POLLIN : POLLOUT), 0};
  const timespec limit = time_of(w.deadline - now_ns());
  const uint64_t args[6] = {(uint64_t)&p, 1, (uint64_t)&limit, 0, 8, 0};
  return arch::gc_wait_call(SYS_ppoll, args, &resumed);
}

void go_on_for_the_rest(const Wait &w, ucontext_t *frame) {
  const Rule rule = rule_of(w.call);
  const bool socket = rule.repeat == Repeat::receiving || rule.repeat == Repeat::sending;
  unsigned long mask = 0;
  __builtin_memcpy(&mask, &frame->uc_sigmask, sizeof mask);
  sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, 8);
  Resumed resumed;
  long result;
  do {
    resumed.parked_again = false;
    result = socket ? wait_for_socket(w, rule, resumed) : wait_for(w, rule, resumed);
  } while (result == -EINTR && resumed.parked_again);
  if (socket) {
    if (result > 0) return arch::restart(frame, w.call);
    if (result == 0) result = w.call.number == SYS_connect ? -EINPROGRESS : -EAGAIN;
  }
  // The kernel does not write it when a sleep is complete, and it may be the limit itself.
  if (timespec *told = rest_of_sleep(w.call); told && result == 0 && w.rest_is_told)
    *told = time_of(w.original);
  arch::end_call(frame, result);
}

}  // namespace

// The thread runs on meanwhile: what is read of its limit counts only if it has slept since before.
void look_at_wait(Thread &t) {
  Wait &w = t.wait;
  const auto limit = [&w] { return w.call.known ? limit_of(w.call, rule_of(w.call)) : -1; };
  w.asleep_since = -1;
  look_at_call(t);
  if (limit() < 0) return;
  look_at_sleep(t);
  w.original = limit();
}

void note_interruption(Wait &w, ucontext_t *frame) {
  w.stopped_at = now_ns();
  w.deadline = INT64_MAX;
  if (arch::resumed_wait(frame)) return;
  w.interrupted = arch::interrupted(frame, w.call) && rule_of(w.call).repeat != Repeat::never;
  if (!w.interrupted) {
    // It was not asleep yet, or in another call, when it was examined: the wait has hardly begun.
    const ProgramMemory memory;
    uint8_t code[arch::decoded_bytes];
    if (!arch::returns_eintr(frame) ||
        memory.read(arch::pc_of(frame) - sizeof code, code, sizeof code) != sizeof code)
      return;
    w.interrupted = arch::decode_call(frame, code, &w.call);
    if (!w.interrupted) return;
    w.asleep_since = -1;
  }
  const Rule rule = rule_of(w.call);
  if (rule.repeat == Repeat::never) {
    w.interrupted = false;
    return;
  }
  rusage usage{};
  sys(SYS_getrusage, RUSAGE_THREAD, &usage);
  if (usage.ru_nvcsw != w.sleeps) w.asleep_since = -1;
  w.limit = limit_of(w.call, rule);
  if (w.limit < 0) {
    w.made_again = true;
    return arch::restart(frame, w.call);
  }
  if (const timespec *rest = rest_of_sleep(w.call)) {  // it may have been written over the limit
    if (w.asleep_since < 0) w.original = w.limit;
    w.limit = nanoseconds(*rest);
    w.rest_is_told = true;
  }
  w.deadline = w.stopped_at + w.limit;
  if (w.asleep_since >= 0 && !w.rest_is_told) w.clock = look_at_clock();
}

namespace {

// How long the wait for a futex lasts at most, which has a point in time for its limit.
int64_t rest_of_futex(const arch::WaitingCall &call) {
  timespec limit{}, now{};
  if (!call.args[3] || ProgramMemory().read(call.args[3], &limit, sizeof limit) != sizeof limit)
    return INT64_MAX;
  sys(SYS_clock_gettime, call.args[1] & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
  return nanoseconds(limit) - nanoseconds(now);
}

}  // namespace

// What the kernel makes again by itself the frame is about to call.
bool is_at_rest(const Wait &w, const ucontext_t *frame) {
  constexpr int64_t moment = 50 * millisecond;  // Python's threads wait 5 ms each time for their turn
  if (arch::resumed_wait(frame)) return true;
  if (w.interrupted && w.limit >= 0) return w.limit >= moment;
  if (w.interrupted) return w.call.number != SYS_futex || rest_of_futex(w.call) >= moment;
  arch::WaitingCall call{};
  uint8_t code[arch::call_bytes];
  if (ProgramMemory().read(arch::pc_of(frame), code, sizeof code) != sizeof code ||
      !arch::begins_call(frame, code, &call))
    return false;
  // A handler asks without waiting, and may have interrupted anything.
  if (call.number == SYS_wait4) return !(call.args[2] & WNOHANG);
  if (call.number == SYS_waitid) return !(call.args[3] & WNOHANG);
  return call.number == SYS_rt_sigsuspend ||
         (call.number != SYS_futex && rule_of(call).repeat != Repeat::never);
}

void go_on_waiting(const Wait &w, ucontext_t *frame, bool in_clone) {
  const bool connecting =
      w.call.known && w.call.number == SYS_connect && (w.interrupted || arch::begins_again(frame, w.call));
  if (connecting && in_clone) {
    // In a clone it would open a second connection: the one that is being made stays with the master.
    if (!w.interrupted || w.made_again) arch::end_restarted(frame);
    return arch::end_call(frame, -ECONNABORTED);
  }
  if (void *resumed = arch::resumed_wait(frame)) {
    static_cast<Resumed *>(resumed)->parked_again = true;
  } else if (w.interrupted && signal_is_due(frame)) {
    if (w.made_again) arch::end_restarted(frame);
  } else if (w.interrupted && w.limit >= 0) {
    go_on_for_the_rest(w, frame);
  } else if (w.interrupted) {
    count_the_stop(w);
  }
}

}  // namespace gridcentric::live_clone
