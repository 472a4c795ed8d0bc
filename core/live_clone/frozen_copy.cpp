// The frozen copy, by which the master's pause does not depend on the number of clones: while the threads are parked the
// process is copied once. Then the master goes on, and the copy, which stays as it is, makes the clones. It lets go at once of
// what the master must be able to close for good, keeps the shared file locks until every clone has taken them, and ends when
// all clones have detached. One clone is made from the parked master itself: a copy in between would only cost time.
//
// The kernel copies a process's page tables one fork at a time. So where there are more processors and enough clones, the copy
// copies itself first, and each copy makes a share of the clones. All are children of the master.
//
// Master and copies talk over socket pairs: the first copy's "detached" lets the master go on; the clones' pidfds follow when
// all of a share have detached. When the master has them all it says so in the status page. The end of the sockets ends the
// copies, which kill their clones if the master has not said so. Of a copy that ends too early the master reports what it has
// left in the status page, and its clones end by themselves.
// Runs while threads are parked, and in the copy: see sys.hpp.
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "descriptor.hpp"
#include "private_files.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr char detached = 'd', handed_over = 'h';
constexpr int most_in_message = 250;  // SCM_MAX_FD is 253
constexpr int fewest_for_a_copy = 8;  // clones: a copy costs as much as a clone

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

CloneStatus &status_of(int copy) { return engine.prepared.status->copies[copy]; }

int first_of_share(int copy) { return (int)((long)engine.clones() * copy / engine.result.copies); }

// Of the clones from `first` on, as many as one message takes.
int in_message(int first, int last) {
  return last - first < most_in_message ? last - first : most_in_message;
}

void close_end(int *end) {
  if (*end >= 0) sys(SYS_close, *end);
  *end = -1;
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
  const Result &r = engine.result;
  for (int first = r.first; first < r.last; first += most_in_message) {
    char byte = handed_over;
    const int count = in_message(first, r.last);
    Parcel parcel(&byte, count);
    memcpy(parcel.descriptors(), r.pidfds + first, (size_t)count * sizeof(int));
    const long n = sys(SYS_sendmsg, socket, &parcel.message, MSG_NOSIGNAL);
    if (n < 0) return fail((int)-n) << "the clones can't be handed to the master (error " << -n << ")", false;
  }
  hear(socket, 0);  // its end
  return status_of(r.copy).state == state_ready;
}

// Puts it where `*place` is, if there is one: other numbers may be free here, but are not in the clones.
bool put(long fd, int *place, const char *what) {
  if (fd < 0) return fail((int)-fd) << what << " is refused in the copy (error " << -fd << ")", false;
  if (*place < 0) return *place = (int)fd, true;
  const long moved = sys(SYS_dup3, fd, *place, O_CLOEXEC);
  sys(SYS_close, fd);
  return moved >= 0 || (fail((int)-moved) << "dup3 is refused in the copy (error " << -moved << ")", false);
}

// Of each copy its own.
bool make_descriptors() {
  sys(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);  // to the life of the thread that clones
  return put(sys(SYS_pidfd_open, sys(SYS_getpid), 0), &engine.result.copy_pidfd, "pidfd_open") &&
         put(sys(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK), &engine.result.copy_progress, "eventfd");
}

void take_share(int copy) {
  Result &r = engine.result;
  r.copy = copy;
  r.first = first_of_share(copy);
  r.last = first_of_share(copy + 1);
}

// Copies this copy, and says in each what its share is.
bool make_more_copies() {
  Result &r = engine.result;
  take_share(0);
  for (int copy = 1; copy < r.copies; copy++) {
    const long made =
        arch::raw_fork(CLONE_PARENT | CLONE_PARENT_SETTID, nullptr, engine.plan.threads[0].registers.tls,
                       &engine.prepared.status->copy_pids[copy]);
    if (made < 0)
      return fail((int)-made) << "can't copy the copy (error " << -made << ")" << why_no_process((int)-made),
             false;
    if (made == 0) {
      take_share(copy);
      for (int other = 0; other < r.copies; other++)
        if (other != copy) close_end(&r.links[other].to_master);
      status_of(copy).state = state_detached;
      return make_descriptors();
    }
    close_end(&r.links[copy].to_master);
  }
  return true;
}

bool detach() {
  CloneStatus &s = status_of(0);
  const double start = now_ms();
  if (!make_descriptors() || !rebuild_memory()) return false;
  const double memory = now_ms();
  if (!freeze_descriptors()) return false;
  s.memory_ms = memory - start;
  s.descriptors_ms = now_ms() - memory;
  int begun = state_forking;
  if (!s.state.compare_exchange_strong(begun, state_detached) ||
      !say(engine.result.links[0].to_master, detached))
    return false;
  begin_rebuilding_anew();
  return find_lock_owners(s);
}

bool be_the_copy() {
  engine.result.frozen = true;
  if (tree::whole()) tree::let_others_take();
  if (!detach() || (tree::whole() && !tree::wait_until_all_are_frozen()) || !make_more_copies() ||
      !spawn_clones() || !tree::others_are(tree::joined, copying_timeout_ms) ||
      !wait_for_all(state_detached, -1))
    return false;
  wait_for_helpers();  // whoever is given a clone finds its gc-reaper
  return hand_over(engine.result.links[engine.result.copy].to_master);
}

[[noreturn]] void run_copy() {
  for (auto &link : engine.result.links) close_end(&link.to_copy);
  if (!be_the_copy()) {
    CloneStatus &s = status_of(engine.result.copy);
    s.failure = engine.result.failure;
    s.state = state_failed;
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

bool fail_as_copy(int copy) {
  const CloneStatus &s = status_of(copy);
  if (s.state == state_failed && s.failure.err) return fail(s.failure.err) << s.failure.what, false;
  return fail(ECHILD) << "the copy of the program from which the clones are made has died (out of memory?)",
         false;
}

// All of a copy's share.
bool receive(int copy) {
  const int end = first_of_share(copy + 1);
  for (int first = first_of_share(copy); first < end; first += most_in_message) {
    char byte = 0;
    const int count = in_message(first, end);
    Parcel parcel(&byte, count);
    long n;
    while ((n = sys(SYS_recvmsg, engine.result.links[copy].to_copy, &parcel.message, MSG_CMSG_CLOEXEC)) ==
           -EINTR) {
    }
    if (n != 1 || byte != handed_over) return fail_as_copy(copy);
    const cmsghdr *head = CMSG_FIRSTHDR(&parcel.message);
    const size_t size = head ? head->cmsg_len - CMSG_LEN(0) : 0;
    memcpy(engine.result.pidfds + first, parcel.descriptors(), size);
    if (size != (size_t)count * sizeof(int))
      return fail(EMFILE) << "the clones can't be received: the limit of open files (ulimit -n) is reached",
             false;
  }
  return true;
}

// The clones are the master's from here on, unless the copy has given up.
bool take_over(int copy) {
  int handed = state_detached;
  return status_of(copy).state.compare_exchange_strong(handed, state_ready) || fail_as_copy(copy);
}

// What they have made but the master has not taken over, they end, too.
void end_copies() {
  for (auto &link : engine.result.links) close_end(&link.to_copy);
  for (int copy = 0; copy < engine.result.copies; copy++) {
    const int pid =
        engine.prepared.status->copy_pids[copy];  // the first one is over when the others are looked up
    int status;
    while (pid && sys(SYS_wait4, pid, &status, __WALL, nullptr) == -EINTR) {
    }
  }
}

int copies_that_pay() {
  if (tree::whole()) return 1;  // its processes do that side by side
  unsigned long processors[16] = {};
  const long bytes = sys(SYS_sched_getaffinity, 0, sizeof processors, processors);
  int most = 0;
  for (long i = 0; i < bytes / (long)sizeof *processors; i++)
    for (unsigned long bits = processors[i]; bits; bits &= bits - 1) most++;
  for (const int limit : {most_copies, engine.clones() / fewest_for_a_copy})
    if (most > limit) most = limit;
  return most > 1 ? most : 1;
}

bool make_links() {
  Result &r = engine.result;
  r.copies = copies_that_pay();
  for (int copy = 0; copy < r.copies; copy++) {
    int ends[2];
    const long made = sys(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
    if (made < 0)
      return fail((int)-made) << "no socket pair for the copy that makes the clones (error " << -made << ")",
             false;
    r.links[copy] = {ends[0], ends[1]};
  }
  return true;
}

bool fork_copy() {
  const long copy = arch::raw_fork(0, nullptr, engine.plan.threads[0].registers.tls);
  if (copy == 0) run_copy();
  if (copy < 0)
    return fail((int)-copy) << "can't copy the program (error " << -copy << ")" << why_no_process((int)-copy),
           false;
  engine.prepared.status->copy_pids[0] = (int)copy;
  return true;
}

void close_copies_ends() {
  for (auto &link : engine.result.links) close_end(&link.to_master);
}

// Returns when it needs the parked threads no more.
bool wait_until_detached() {
  const int socket = engine.result.links[0].to_copy, limit_ms = copying_limit_ms();
  int begun = state_forking;
  if (has_said(socket, limit_ms) || !status_of(0).state.compare_exchange_strong(begun, state_failed))
    return hear(socket, detached) || fail_as_copy(0);
  sys(SYS_kill, engine.prepared.status->copy_pids[0], SIGKILL);  // it has made nothing yet
  return fail(ETIMEDOUT) << "the copy of the program did not replace its memory within " << limit_ms
                         << " ms while the program was stopped",
         false;
}

}  // namespace

bool make_frozen_copy() {
  const bool made = make_links() && fork_copy();
  close_copies_ends();
  if (made && wait_until_detached() && tree::others_are(tree::frozen, copying_limit_ms())) return true;
  if (tree::whole()) tree::begin(tree::given_up);
  end_copies();
  return false;
}

bool receive_clones() {
  bool ok = true;
  for (int copy = 0; ok && copy < engine.result.copies; copy++) ok = receive(copy);
  for (int copy = 0; ok && copy < engine.result.copies; copy++) ok = take_over(copy);
  end_copies();
  return ok;
}

}  // namespace gridcentric::live_clone
