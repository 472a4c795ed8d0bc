// The frozen copy, by which the master's pause does not depend on the number of clones: while the threads are parked the
// process is copied once. Then the master goes on, and the copy, which stays as it is, makes the clones. It lets go at once of
// what the master must be able to close for good, keeps the shared file locks until every clone has taken them, and ends when
// all clones have detached. One clone is made from the parked master itself: a copy in between would only cost time.
//
// Master and copy talk over a socket pair: "detached" lets the master go on; the clones' pidfds follow when all of them have
// detached; the master's answer ends the copy. Whoever hears the other's end instead undoes what there is: the copy kills the
// clones, the master reports the failure that the copy has left in the status page. Clones end by themselves if the copy ends
// before the master has them.
// Runs while threads are parked, and in the copy: see sys.hpp.
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "descriptor.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr char detached = 'd', handed_over = 'h', received = 'r';
constexpr int most_in_message = 250;  // SCM_MAX_FD is 253

/// A message with descriptors.
struct Parcel {
  iovec part;
  alignas(cmsghdr) char control[CMSG_SPACE(most_in_message * sizeof(int))];
  msghdr message;

  Parcel(char *byte, int descriptors) : part{byte, 1}, control{}, message{} {
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!descriptors) return;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE((size_t)descriptors * sizeof(int));
    cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN((size_t)descriptors * sizeof(int));
  }
  char *descriptors() { return reinterpret_cast<char *>(CMSG_DATA(CMSG_FIRSTHDR(&message))); }
};

// Of the clones from `first` on, as many as one message takes.
int in_message(int first) {
  const int left = engine.clones() - first;
  return left < most_in_message ? left : most_in_message;
}

bool say(int socket, char byte) { return sys(SYS_sendto, socket, &byte, 1, MSG_NOSIGNAL, nullptr, 0) == 1; }

// False when the other has ended.
bool hear(int socket, char expected) {
  char byte = 0;
  long n;
  while ((n = sys(SYS_read, socket, &byte, 1)) == -EINTR) {
  }
  return n == 1 && byte == expected;
}

// ---- in the copy

bool hand_over(int socket) {
  for (int first = 0; first < engine.clones(); first += most_in_message) {
    char byte = handed_over;
    Parcel parcel(&byte, in_message(first));
    memcpy(parcel.descriptors(), engine.result.pidfds + first, (size_t)in_message(first) * sizeof(int));
    const long n = sys(SYS_sendmsg, socket, &parcel.message, MSG_NOSIGNAL);
    if (n < 0) return fail((int)-n) << "the clones can't be handed to the master (error " << -n << ")", false;
  }
  if (!hear(socket, received)) return false;
  engine.prepared.status->copy.state = state_ready;
  return true;
}

bool be_the_copy(int socket) {
  CloneStatus &s = engine.prepared.status->copy;
  sys(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);  // to the life of the thread that clones
  const long self = sys(SYS_pidfd_open, sys(SYS_getpid), 0);
  if (self < 0) return fail((int)-self) << "pidfd_open is refused in the copy (error " << -self << ")", false;
  engine.result.copy_pidfd = (int)self;
  const double start = now_ms();
  if (!rebuild_memory()) return false;
  const double memory = now_ms();
  if (!freeze_descriptors()) return false;
  s.memory_ms = memory - start;
  s.descriptors_ms = now_ms() - memory;
  int begun = state_forking;
  if (!s.state.compare_exchange_strong(begun, state_detached) || !say(socket, detached)) return false;
  begin_rebuilding_anew();
  if (!find_lock_owners(s) || !spawn_clones() || !wait_for_clones(state_detached, -1)) return false;
  wait_for_helpers();  // whoever is given a clone finds its gc-reaper
  return hand_over(socket);
}

[[noreturn]] void run_copy(int socket) {
  if (!be_the_copy(socket)) {
    engine.prepared.status->copy.failure = engine.result.failure;
    engine.prepared.status->copy.state = state_failed;
    kill_clones();
  }
  for (;;) sys(SYS_exit_group, 0);
}

// ---- in the master

bool has_said(int socket, int timeout_ms) {
  pollfd p{socket, POLLIN, 0};
  const double deadline = now_ms() + timeout_ms;
  for (;;) {
    const double left = deadline - now_ms();
    if (left <= 0) return false;
    const timespec t{(time_t)(left / 1000), (long)(left * 1e6) % 1000000000L};
    if (sys(SYS_ppoll, &p, 1, &t, nullptr, 8) > 0) return true;
  }
}

bool fail_as_copy() {
  const CloneStatus &s = engine.prepared.status->copy;
  if (s.state == state_failed && s.failure.err) return fail(s.failure.err) << s.failure.what, false;
  return fail(ECHILD) << "the copy of the program from which the clones are made has died (out of memory?)",
         false;
}

bool receive(int socket) {
  for (int first = 0; first < engine.clones(); first += most_in_message) {
    char byte = 0;
    const int count = in_message(first);
    Parcel parcel(&byte, count);
    long n;
    while ((n = sys(SYS_recvmsg, socket, &parcel.message, MSG_CMSG_CLOEXEC)) == -EINTR) {
    }
    if (n != 1 || byte != handed_over) return fail_as_copy();
    const cmsghdr *head = CMSG_FIRSTHDR(&parcel.message);
    const size_t size = head ? head->cmsg_len - CMSG_LEN(0) : 0;
    memcpy(engine.result.pidfds + first, parcel.descriptors(), size);
    if (size != (size_t)count * sizeof(int))
      return fail(EMFILE) << "the clones can't be received: the limit of open files (ulimit -n) is reached",
             false;
  }
  return true;
}

// What it has made but not handed over, it ends, too.
void end_frozen_copy() {
  Result &r = engine.result;
  if (r.to_copy >= 0) sys(SYS_close, r.to_copy);
  r.to_copy = -1;
  if (r.copy_pid) {
    int status;
    while (sys(SYS_wait4, r.copy_pid, &status, __WALL, nullptr) == -EINTR) {
    }
  }
  r.copy_pid = 0;
}

}  // namespace

bool make_frozen_copy() {
  Engine &e = engine;
  int ends[2];
  const long made = sys(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
  if (made < 0)
    return fail((int)-made) << "no socket pair for the copy that makes the clones (error " << -made << ")",
           false;
  e.result.to_copy = ends[0];
  e.result.to_master = ends[1];
  const long copy = arch::raw_fork(0, nullptr, e.plan.threads[0].registers.tls);
  if (copy == 0) {
    sys(SYS_close, ends[0]);
    e.result.to_copy = -1;
    run_copy(ends[1]);
  }
  sys(SYS_close, ends[1]);
  e.result.to_master = -1;
  if (copy < 0) {
    Text text = fail((int)-copy);
    text << "can't copy the program (error " << -copy << ")" << why_no_process((int)-copy);
    end_frozen_copy();
    return false;
  }
  e.result.copy_pid = (int)copy;
  int begun = state_forking;
  if (!has_said(ends[0], e.order->park_timeout_ms) &&
      e.prepared.status->copy.state.compare_exchange_strong(begun, state_failed)) {
    sys(SYS_kill, copy, SIGKILL);  // it has made nothing yet
    fail(ETIMEDOUT) << "the copy of the program did not replace its memory within "
                    << e.order->park_timeout_ms << " ms while the program was stopped";
  } else if (hear(ends[0], detached)) {
    return true;
  } else {
    fail_as_copy();
  }
  end_frozen_copy();
  return false;
}

bool receive_clones() {
  bool ok = receive(engine.result.to_copy);
  if (ok) say(engine.result.to_copy, received);
  end_frozen_copy();
  if (ok && engine.prepared.status->copy.state != state_ready) ok = fail_as_copy();
  return ok;
}

}  // namespace gridcentric::live_clone
