// What ends a wait that goes on after a clone: an event, one of the program's signals, a cancellation; and waits that are
// too short to be seen before they are interrupted.
#include <errno.h>
#include <gnu/libc-version.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "testee.hpp"

using namespace testee;

namespace {

constexpr int far_ms = 100'000;  // longer than a test may last
}  // namespace

TESTEE(an_event_ends_a_wait_that_goes_on) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  uint32_t word = 0;
  std::atomic<int> tids[2] = {0, 0};
  long polled = -1, woken = -1;
  std::thread poller([&] {
    tids[0] = gettid();
    pollfd p{ends[0], POLLIN, 0};
    polled = poll(&p, 1, far_ms);
  });
  std::thread waiter([&] {
    tids[1] = gettid();
    const timespec limit{far_ms / 1000, 0};
    woken = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &limit, nullptr, 0);
  });
  until([&] { return tids[0] != 0 && tids[1] != 0; });
  wait_asleep(tids[0], {SYS_poll, SYS_ppoll});
  wait_asleep(tids[1], {SYS_futex});
  clone_here();
  CHECK(write(ends[1], "x", 1) == 1);
  poller.join();
  CHECK_EQ(polled, 1L);
  until([&] { return syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0) == 1; });
  waiter.join();
  CHECK_EQ(woken, 0L);
}

// The program's own handler ends a wait as usual, and the reported rest is that of the whole wait.
TESTEE(a_signal_ends_a_wait_that_goes_on) {
  static std::atomic<int> handled;
  struct sigaction action {};
  action.sa_handler = [](int) { handled++; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  std::atomic<int> tid{0};
  int result = 0, error = 0;
  timespec rest{};
  std::thread sleeper([&] {
    tid = gettid();
    const timespec limit{far_ms / 1000, 0};
    result = nanosleep(&limit, &rest);
    error = errno;
  });
  until([&] { return tid != 0; });
  wait_asleep(tid, {SYS_nanosleep, SYS_clock_nanosleep});
  clone_here();
  // A signal may come before the wait goes on, just as it may come before a wait begins.
  until([&] {
    pthread_kill(sleeper.native_handle(), SIGUSR1);
    return result != 0;
  });
  sleeper.join();
  CHECK(handled > 0);
  CHECK(result == -1 && error == EINTR);
  CHECK(rest.tv_sec < far_ms / 1000 && rest.tv_sec > 0);
}

TESTEE(a_wait_that_goes_on_can_be_cancelled) {
  struct Freed {
    std::atomic<bool> *flag;
    ~Freed() { *flag = true; }
  };
  static std::atomic<bool> freed;
  static std::atomic<int> tid;
  pthread_t sleeper;
  CHECK(pthread_create(
            &sleeper, nullptr,
            [](void *) -> void * {
              const Freed on_the_way_out{&freed};
              tid = gettid();
              const timespec limit{far_ms / 1000, 0};
              nanosleep(&limit, nullptr);
              return nullptr;
            },
            nullptr) == 0);
  until([] { return tid != 0; });
  wait_asleep(tid, {SYS_nanosleep, SYS_clock_nanosleep});
  clone_here();
  timespec moment{0, 5'000'000};
  nanosleep(&moment, nullptr);  // usually it waits again by then; the other case must work too
  CHECK(pthread_cancel(sleeper) == 0);
  void *result = nullptr;
  CHECK(pthread_join(sleeper, &result) == 0);
  CHECK(result == PTHREAD_CANCELED);
  CHECK(freed);
}

// A handshake that is never answered. In a clone the connection is a dead end.
TESTEE(connecting_goes_on) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(listen(listener, 0) == 0);
  sockaddr_in address{};
  socklen_t size = sizeof address;
  CHECK(getsockname(listener, (sockaddr *)&address, &size) == 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::vector<int> filling;
  for (int i = 0; i < 3; i++) {
    filling.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    connect(filling.back(), (sockaddr *)&address, sizeof address);
  }
  std::atomic<int> tid{0};
  long result = 0, error = 0, lasted = 0;
  std::thread connector([&] {
    block_all_signals();
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const timeval limit{1, 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    timespec begin{}, end{};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    tid = gettid();
    result = connect(fd, (sockaddr *)&address, sizeof address);
    error = errno;
    clock_gettime(CLOCK_MONOTONIC, &end);
    lasted = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1'000'000;
  });
  until([&] { return tid != 0; });
  wait_asleep(tid, {SYS_connect});
  const int index = clone_here();
  connector.join();
  CHECK(result == -1 && error != EINTR);
  if (index == 0) CHECK_EQ(error, (long)EINPROGRESS);
  if (index == 0) CHECK(lasted >= 1000);
}

TESTEE(waiting_for_a_ring_goes_on) {
  io_uring_params layout{};
  const int ring = (int)syscall(SYS_io_uring_setup, 4, &layout);
  CHECK(ring >= 0);
  const size_t size = layout.cq_off.cqes + layout.cq_entries * sizeof(io_uring_cqe);
  void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
  void *entries = mmap(nullptr, layout.sq_entries * sizeof(io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED,
                       ring, IORING_OFF_SQES);
  CHECK(memory != MAP_FAILED && entries != MAP_FAILED);
  std::atomic<int> tid{0};
  long result = 0, error = 0;
  std::thread waiter([&] {
    block_all_signals();
    const timespec limit{1, 0};
    io_uring_getevents_arg argument{};
    argument.ts = (uint64_t)&limit;
    tid = gettid();
    result = syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS | 1u << 3 /* EXT_ARG */,
                     &argument, sizeof argument);
    error = errno;
  });
  until([&] { return tid != 0; });
  if (layout.features & 1u << 8 /* EXT_ARG, Linux 5.11 */) wait_asleep(tid, {SYS_io_uring_enter});
  clone_here();
  waiter.join();
  CHECK(result == -1 && (error == ETIME || !(layout.features & 1u << 8)));
}

// A thread may begin to wait after it was examined and before the signal. In a program that has blocked all signals no wait
// can be interrupted, and none is, unless the C library loads the number of a call from where it cannot be read (since glibc
// 2.41): then no more is lost than docs/live-clone.md says.
TESTEE(short_waits_are_not_interrupted) {
  std::atomic<bool> stop{false};
  std::atomic<long> rounds{0}, interrupted{0};
  const auto repeat = [&](auto call) {
    return std::thread([&, call] {
      block_all_signals();
      while (!stop) {
        interrupted += call() == -1 && errno == EINTR;
        rounds++;
      }
    });
  };
  const timespec brief{0, 300'000};
  const int set = epoll_create1(0);
  std::vector<std::thread> threads;
  threads.push_back(repeat([] { return poll(nullptr, 0, 1); }));
  threads.push_back(repeat([&] { return nanosleep(&brief, nullptr); }));
  threads.push_back(repeat([&] {
    epoll_event e;
    return epoll_wait(set, &e, 1, 1);
  }));
  threads.push_back(repeat([] {
    timeval t{0, 300};
    return select(0, nullptr, nullptr, nullptr, &t);
  }));
  threads.push_back(repeat([&] {
    epoll_event e;
    return epoll_pwait(set, &e, 1, 1, nullptr);
  }));
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
  const timeval millisecond{0, 1000};
  CHECK(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &millisecond, sizeof millisecond) == 0);
  threads.push_back(repeat([&] {
    char byte;
    iovec part{&byte, 1};
    mmsghdr message{};
    message.msg_hdr.msg_iov = &part;
    message.msg_hdr.msg_iovlen = 1;
    return recvmmsg(ends[0], &message, 1, 0, nullptr);
  }));
  for (int i = 0; i < 20 && outcome().index <= 0; i++) {
    const long before = rounds;
    until([&] { return rounds > before + 20; });
    clone_here();
  }
  const long before = rounds;
  until([&] { return rounds > before + 100; });
  stop = true;
  for (auto &t : threads) t.join();
  if (strverscmp(gnu_get_libc_version(), "2.41") < 0) CHECK_EQ(interrupted.load(), 0L);
}

// Between two waits the memory that holds their limit often holds something else: the thread is examined while it runs.
TESTEE(the_limit_of_a_wait_is_its_own) {
  std::atomic<bool> stop{false};
  std::atomic<long> rounds[4] = {};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++)
    threads.emplace_back([&stop, &counter = rounds[i], told = i % 2] {
      timespec limit{};
      while (!stop) {
        limit = {0, 1000};
        nanosleep(&limit, told ? &limit : nullptr);
        limit = {10 * far_ms, 0};
        for (int spin = 0; spin < 3000; spin++) std::atomic_signal_fence(std::memory_order_seq_cst);
        counter++;
      }
    });
  const auto all_go_on = [&] {
    for (auto &counter : rounds) {
      const long before = counter;
      until([&] { return counter > before; });
    }
  };
  auto failing = order();
  failing.fail_at = 1;
  for (int i = 0; i < 200; i++) {
    CHECK(live_clone::clone(failing).index < 0);
    all_go_on();
  }
  clone_here();
  all_go_on();
  stop = true;
  for (auto &t : threads) t.join();
}

// The next clone may begin before a thread has resumed its wait.
TESTEE(waits_go_on_through_clones_back_to_back) {
  std::atomic<int> asleep{0}, interrupted{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; i++)
    threads.emplace_back([&] {
      block_all_signals();
      asleep++;
      while (!stop) interrupted += poll(nullptr, 0, 500) != 0;
    });
  until([&] { return asleep == 8; });
  auto failing = order();
  failing.fail_at = 1;
  for (int i = 0; i < 30; i++) CHECK(live_clone::clone(failing).index < 0);
  clone_here();
  stop = true;
  for (auto &t : threads) t.join();
  CHECK_EQ(interrupted.load(), 0);
}
