// Waits with a limit go on for the time that is left, through two clones, whichever call waits: one row per call. The threads
// have blocked every signal, so no program could expect EINTR. Durations are compared with other waits, until points in time.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <iterator>
#include <thread>
#include <vector>

#include "testee.hpp"

using namespace testee;

namespace {

constexpr long millisecond = 1'000'000;
constexpr long limit_ms = 1000, first_clone_ms = 700, second_clone_ms = 850;
// A wait that started over when the first clone was made would go on for limit_ms from then, or a little less, as the thread that
// cloned may be the last to run.
constexpr long too_late_ms = limit_ms - 100;

timespec time_of(long ms) { return {ms / 1000, ms % 1000 * millisecond}; }
timespec limit() { return time_of(limit_ms); }

long now(clockid_t clock = CLOCK_MONOTONIC) {
  timespec t{};
  clock_gettime(clock, &t);
  return t.tv_sec * 1000 * millisecond + t.tv_nsec;
}

timespec at(clockid_t clock) {
  const long end = now(clock) + limit_ms * millisecond;
  return {end / (1000 * millisecond), end % (1000 * millisecond)};
}

void sleep_until(long end) {
  const timespec t{end / (1000 * millisecond), end % (1000 * millisecond)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) == EINTR) {
  }
}

// As the system call returns it: -errno.
long said(long result) { return result < 0 ? -errno : result; }

int quiet_pipe() {
  static int ends[2] = {-1, -1};
  static const bool made = pipe(ends) == 0;
  CHECK(made);
  return ends[0];
}

int epoll_set() {
  static const int set = epoll_create1(0);
  return set;
}

// A connected pair of sockets with both limits; nothing is ever in it.
int limited_socket(bool full = false) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const timeval limit{limit_ms / 1000, 0};
  CHECK(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
  char block[4096] = {};
  while (full && send(ends[0], block, sizeof block, MSG_DONTWAIT) > 0) {
  }
  while (full && send(ends[0], block, 1, MSG_DONTWAIT) > 0) {
  }
  return ends[0];
}

int limited_listener() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const timeval limit{limit_ms / 1000, 0};
  CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  CHECK(listen(fd, 1) == 0);
  return fd;
}

uint32_t futex_word = 7;
char byte[16];

long futex(int operation, const timespec *until, uint32_t value = 7) {
  return said(syscall(SYS_futex, &futex_word, operation | FUTEX_PRIVATE_FLAG, value, until, nullptr, ~0u));
}

long sigtimed() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  const timespec t = limit();
  return said(sigtimedwait(&set, nullptr, &t));
}

long nanosleep_into_itself() {
  timespec t = limit();
  const long r = said(nanosleep(&t, &t));
  return r || t.tv_sec != limit_ms / 1000 || t.tv_nsec ? r - 1000 : 0;  // it is unchanged
}

long raw_poll_keeps_its_registers() {
#if defined(__x86_64__)
  pollfd p{quiet_pipe(), POLLIN, 0};
  long result = SYS_poll;
  register long timeout asm("rdx") = limit_ms;
  asm volatile("syscall" : "+a"(result), "+r"(timeout) : "D"(&p), "S"(1L) : "rcx", "r11", "memory");
  return timeout == limit_ms ? result : -1000;
#else
  return 0;
#endif
}

long timed_semaphore() {
  static sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  const timespec end = at(CLOCK_REALTIME);
  return said(sem_timedwait(&semaphore, &end));
}

long timed_condition() {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  const timespec end = at(CLOCK_REALTIME);
  pthread_mutex_lock(&mutex);
  const int r = pthread_cond_timedwait(&condition, &mutex, &end);
  pthread_mutex_unlock(&mutex);
  return -r;
}

int semaphores = -1;  // one set for all domains; the master removes it when they have ended

long timed_system_v_semaphore() {
  sembuf down{0, -1, 0};
  const timespec t = limit();
  return said(semtimedop(semaphores, &down, 1, &t));
}

struct Row {
  const char *name;
  long (*call)();
  long expected;
};

const Row rows[] = {
    {"poll",
     [] {
       pollfd p{quiet_pipe(), POLLIN, 0};
       return said(poll(&p, 1, limit_ms));
     },
     0},
    {"poll by hand", raw_poll_keeps_its_registers, 0},
    {"ppoll",
     [] {
       pollfd p{quiet_pipe(), POLLIN, 0};
       timespec t = limit();
       return said(ppoll(&p, 1, &t, nullptr));
     },
     0},
    {"select",
     [] {
       timeval t{limit_ms / 1000, 0};
       return said(select(0, nullptr, nullptr, nullptr, &t));
     },
     0},
    {"pselect",
     [] {
       timespec t = limit();
       return said(pselect(0, nullptr, nullptr, nullptr, &t, nullptr));
     },
     0},
    {"epoll_wait",
     [] {
       epoll_event e;
       return said(epoll_wait(epoll_set(), &e, 1, limit_ms));
     },
     0},
    {"epoll_pwait",
     [] {
       epoll_event e;
       return said(epoll_pwait(epoll_set(), &e, 1, limit_ms, nullptr));
     },
     0},
    {"epoll_pwait2",
     [] {
       epoll_event e;
       timespec t = limit();
       const long r = said(syscall(441, epoll_set(), &e, 1, &t, nullptr, 8L));
       return r == -ENOSYS ? said(epoll_wait(epoll_set(), &e, 1, limit_ms)) : r;  // before Linux 5.11
     },
     0},
    {"nanosleep",
     [] {
       timespec t = limit();
       return said(nanosleep(&t, nullptr));
     },
     0},
    {"nanosleep into itself", nanosleep_into_itself, 0},
    {"usleep", [] { return said(usleep(limit_ms * 1000)); }, 0},
    {"sleep", [] { return long(sleep(limit_ms / 1000)); }, 0},
    {"clock_nanosleep",
     [] {
       timespec t = limit();
       return long(-clock_nanosleep(CLOCK_BOOTTIME, 0, &t, nullptr));
     },
     0},
    {"clock_nanosleep until",
     [] {
       timespec t = at(CLOCK_REALTIME);
       return long(-clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, nullptr));
     },
     0},
    {"futex",
     [] {
       timespec t = limit();
       return futex(FUTEX_WAIT, &t);
     },
     -ETIMEDOUT},
    {"futex until",
     [] {
       timespec t = at(CLOCK_MONOTONIC);
       return futex(FUTEX_WAIT_BITSET, &t);
     },
     -ETIMEDOUT},
    {"sem_timedwait", timed_semaphore, -ETIMEDOUT},
    {"pthread_cond_timedwait", timed_condition, -ETIMEDOUT},
    {"sigtimedwait", sigtimed, -EAGAIN},
    {"semtimedop", timed_system_v_semaphore, -EAGAIN},
    {"recv", [] { return said(recv(limited_socket(), byte, 1, 0)); }, -EAGAIN},
    {"read", [] { return said(read(limited_socket(), byte, 1)); }, -EAGAIN},
    {"recvmsg",
     [] {
       iovec v{byte, 1};
       msghdr m{};
       m.msg_iov = &v;
       m.msg_iovlen = 1;
       return said(recvmsg(limited_socket(), &m, 0));
     },
     -EAGAIN},
    {"recvmmsg",
     [] {
       iovec v{byte, 1};
       mmsghdr m{};
       m.msg_hdr.msg_iov = &v;
       m.msg_hdr.msg_iovlen = 1;
       return said(recvmmsg(limited_socket(), &m, 1, 0, nullptr));
     },
     -EAGAIN},
    {"send", [] { return said(send(limited_socket(true), byte, 1, MSG_NOSIGNAL)); }, -EAGAIN},
    {"write", [] { return said(write(limited_socket(true), byte, 1)); }, -EAGAIN},
    {"accept", [] { return said(accept(limited_listener(), nullptr, nullptr)); }, -EAGAIN},
    {"accept4", [] { return said(accept4(limited_listener(), nullptr, nullptr, SOCK_CLOEXEC)); }, -EAGAIN},
};

struct Waiter {
  const Row *row = nullptr;
  std::atomic<int> tid{0};
  std::atomic<bool> ended{false};
  long result = 0, lasted = 0;
  std::thread thread;
};

bool sleeps_are_recorded() { return access("/proc/thread-self/sched", R_OK) == 0; }

}  // namespace

TESTEE(waits_go_on_for_the_rest) {
  semaphores = semget(IPC_PRIVATE, 1, 0600);
  CHECK(semaphores >= 0);
  std::deque<Waiter> waiters(std::size(rows));
  const long start = now();
  for (size_t i = 0; i < std::size(rows); i++) {
    Waiter &w = waiters[i];
    w.row = &rows[i];
    w.thread = std::thread([&w] {
      block_all_signals();
      w.tid = gettid();
      const long begin = now();
      w.result = w.row->call();
      w.lasted = now() - begin;
      w.ended = true;
    });
  }
  for (Waiter &w : waiters) {
    until([&] { return w.tid != 0; });
    wait_asleep(w.tid);
  }
  std::string unfinished;
  std::atomic<long> cloned{0};
  std::thread judge([&] {
    block_all_signals();
    until([&] { return cloned != 0; });
    sleep_until(cloned + too_late_ms * millisecond);
    for (Waiter &w : waiters)
      if (!w.ended) unfinished += std::string(" ") + w.row->name;
  });
  auto failing = order();
  failing.fail_at = 1;
  CHECK(live_clone::clone(failing).index < 0);  // nor are waits shortened by a clone that fails
  sleep_until(start + first_clone_ms * millisecond);
  const bool master = clone_here() == 0;
  cloned = now();
  sleep_until(start + second_clone_ms * millisecond);
  auto one = order();
  one.addresses.resize(1);
  const bool last = clone_here(one) == 0;  // so do the clones
  for (Waiter &w : waiters) w.thread.join();
  judge.join();
  for (const Waiter &w : waiters) {
    if (w.result != w.row->expected)
      fail(__FILE__, __LINE__, std::string(w.row->name) + " returned " + std::to_string(w.result));
    if (w.lasted < limit_ms * millisecond)
      fail(__FILE__, __LINE__, std::string(w.row->name) + " ended early: " + std::to_string(w.lasted));
  }
  if (sleeps_are_recorded() && !unfinished.empty()) fail(__FILE__, __LINE__, "too late:" + unfinished);
  if (!master || !last) return;
  wait_for_clones();
  CHECK(semctl(semaphores, 0, IPC_RMID) == 0);
}

// The kernel writes back how much is left of these waits, which are then made again: while stopped they go on, too.
// By libc's functions: of syscall(2)'s the number shows only while the thread sleeps, and this one is stopped again and again.
TESTEE(waits_do_not_grow_by_the_pause) {
  constexpr long second = 1000 * millisecond;
  std::atomic<int> tids[6] = {};
  long late[6];
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; i++)
    threads.emplace_back([&, i] {
      block_all_signals();
      timespec t{2, 0};
      timeval v{2, 0};
      tids[i] = gettid();
      const long begin = now();
      if (i % 3 == 0) CHECK_EQ(ppoll(nullptr, 0, &t, nullptr), 0);
      if (i % 3 == 1) CHECK_EQ(pselect(0, nullptr, nullptr, nullptr, &t, nullptr), 0);
      if (i % 3 == 2) CHECK_EQ(select(0, nullptr, nullptr, nullptr, &v), 0);
      late[i] = now() - begin - 2 * second;
    });
  for (const auto &tid : tids) {
    until([&] { return tid != 0; });
    wait_asleep(tid);
  }
  auto one = order();
  one.addresses.resize(1);
  double paused_ms = 0;
  for (const long begin = now(); now() - begin < second;) {
    const auto result = live_clone::clone(one);
    if (result.index > 0) _exit(0);  // not reached: it is not let go
    CHECK_EQ(result.index, 0);
    paused_ms += result.times.pause_ms;
    live_clone::abort();
    for (const int fd : result.pidfds) close(fd);
  }
  for (auto &t : threads) t.join();
  const long least = *std::min_element(std::begin(late), std::end(late));
  CHECK(least >= 0);
  CHECK(double(least) / double(millisecond) < paused_ms / 2);
  clone_here();
}
