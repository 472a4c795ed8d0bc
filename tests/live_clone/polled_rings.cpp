// Rings whose requests a kernel thread takes (SQPOLL), such as libuv's for files: master and clone go on, each with its own
// ring and kernel thread. Refusals are in refused_rings.cpp.
#include "ring.hpp"

using namespace testee;

// The number of kernel threads that this process has; a new one gets its name after a moment.
static int kernel_threads() {
  int count = 0;
  for (const auto &entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream comm(entry.path() / "comm");
    std::string name;
    count += std::getline(comm, name) && name.rfind("iou-sqp-", 0) == 0;
  }
  return count;
}

// Reads the contents of `fd` through the ring.
static std::string read_through(Ring &r, int fd) {
  char text[64] = {};
  io_uring_sqe &s = r.write_down(IORING_OP_READ);
  s.fd = fd, s.addr = (unsigned long long)text, s.len = sizeof text, s.user_data = 5;
  r.publish();
  r.wait_for_answer();
  const io_uring_cqe &c = r.next_answer();
  CHECK_EQ(c.user_data, 5ull);
  CHECK(c.res >= 0);
  return std::string(text, (size_t)c.res);
}

// Used before the clone, while its kernel thread sleeps or looks for work, and afterwards by each process through its own.
static void used_on(Ring &r, unsigned times) {
  CHECK(r.fd >= 0);
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(write(ends[1], "before", 6) == 6);
  for (unsigned i = 0; i < times; i++) r.polled_no_ops(1);
  const int k = clone_here();
  until([] { return kernel_threads() == 1; });
  const std::string mine = "of " + std::to_string(k);
  CHECK(write(ends[1], mine.c_str(), mine.size()) == (ssize_t)mine.size());
  CHECK(read_through(r, ends[0]) == "before" + mine);
  r.polled_no_ops(300);  // wraps around
  r.until_asleep();      // and is woken
  r.polled_no_ops(300);
  if (k == 0) wait_for_clones();
  r.polled_no_ops(3);
}

TESTEE(polled_ring_looking_for_work) {
  Ring r(64, IORING_SETUP_SQPOLL, 0, 300);
  used_on(r, 200);
}
TESTEE(polled_ring_asleep) {
  Ring r(64, IORING_SETUP_SQPOLL, 0, 1);
  r.polled_no_ops(100);
  r.until_asleep();
  used_on(r, 0);
}
TESTEE(polled_ring_fresh) {
  Ring r(64, IORING_SETUP_SQPOLL, 0, 10);
  used_on(r, 0);
}
TESTEE(polled_ring_without_array) {
  Ring r(64, IORING_SETUP_SQPOLL | newest(no_sqarray), 0, 10);
  used_on(r, 3000);
}

// As in libuv: in the epoll set of its loop, which answers wake.
TESTEE(polled_ring_in_an_epoll_set) {
  Ring r(64, IORING_SETUP_SQPOLL, 0, 10), loop(256, newest(no_sqarray));
  const int set = epoll_create1(EPOLL_CLOEXEC), file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN, event.data.fd = r.fd;
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, r.fd, &event) == 0);
  const auto round = [&] {
    char magic[4];
    io_uring_sqe &s = r.write_down(IORING_OP_READ);
    s.fd = file, s.addr = (unsigned long long)magic, s.len = sizeof magic;
    r.publish();
    epoll_event found{};
    // When a ring is closed the kernel interrupts the thread that made it: here the caller of clone(), which made some to measure.
    int n;
    do n = epoll_wait(set, &found, 1, -1);
    while (n < 0 && errno == EINTR);
    CHECK_EQ(n, 1);
    CHECK_EQ(found.data.fd, r.fd);
    CHECK_EQ(r.next_answer().res, 4);
    CHECK(memcmp(magic, "\177ELF", 4) == 0);
    CHECK_EQ(epoll_wait(set, &found, 1, 0), 0);
  };
  for (int i = 0; i < 10; i++) round();
  CHECK(live_clone::preflight(order().mode).can_clone);
  clone_here();
  for (int i = 0; i < 100; i++) round();
}

// An answer has arrived and is not read yet.
TESTEE(polled_ring_with_answers) {
  Ring r(64, IORING_SETUP_SQPOLL);
  for (unsigned i = 0; i < 90; i++) r.polled_no_ops(1);
  for (unsigned i = 0; i < 3; i++) {
    r.write_down(IORING_OP_NOP).user_data = 70 + i;
    r.publish();
  }
  clone_here();  // waits until all three are answered
  CHECK_EQ(r.cq_tail() - r.cq_head(), 3u);
  for (unsigned i = 0; i < 3; i++) CHECK_EQ(r.next_answer().user_data, 70ull + i);
  r.polled_no_ops(100);
}

TESTEE(polled_ring_with_a_private_tail) {
  Ring r(64, IORING_SETUP_SQPOLL);
  r.polled_no_ops(1234);
  unsigned tail = r.sq_tail();
  clone_here();
  for (unsigned i = 0; i < 200; i++) {
    io_uring_sqe &s = r.sqes[tail & r.sq_mask()];
    memset(&s, 0, sizeof s);
    s.user_data = 1000 + i;
    __atomic_store_n(&r.sq_tail(), ++tail, __ATOMIC_SEQ_CST);
    r.wake();
    r.wait_for_answer();
    CHECK_EQ(r.next_answer().user_data, 1000ull + i);
    CHECK_EQ(r.sq_tail(), tail);
  }
}

// Several rings: two that share a kernel thread, and one without.
TESTEE(polled_rings_and_others) {
  Ring a(64, IORING_SETUP_SQPOLL), plain(64), b(128, IORING_SETUP_SQPOLL, 0, 10, &a);
  CHECK(a.fd >= 0 && b.fd >= 0);
  until([] { return kernel_threads() == 1; });
  a.polled_no_ops(5), plain.no_ops(6), b.polled_no_ops(7);
  const int k = clone_here();
  until([k] { return kernel_threads() == (k ? 2 : 1); });
  a.polled_no_ops(50), plain.no_ops(60), b.polled_no_ops(700);
  CHECK_EQ(a.sq_head(), 55u);
  CHECK_EQ(b.cq_tail(), 707u);
}

// Each thread has a ring, and all are busy while they are stopped again and again; clones are cloned as well.
TESTEE(polled_rings_of_busy_threads) {
  std::atomic<bool> stop{false};
  std::atomic<unsigned> rounds[2] = {};
  std::vector<std::thread> threads;
  for (auto &counter : rounds)
    threads.emplace_back([&stop, &counter] {
      Ring r(64, IORING_SETUP_SQPOLL, 0, 1);
      CHECK(r.fd >= 0);
      while (!stop) {
        r.polled_no_ops(1);
        if (counter++ % 16 == 0) r.until_asleep();
      }
      r.close_all();
    });
  const auto go_on = [&] {
    for (auto &counter : rounds) {
      const unsigned now = counter;
      until([&] { return counter > now + 20; });
    }
  };
  go_on();
  // A thread may be stopped between writing a request and waking the kernel thread.
  const std::string passing = "with work in flight";
  int k = 0;
  for (int i = 0; i < 3 && k == 0; i++) {
    k = clone_here(order(), passing);
    go_on();
    if (k == 0) wait_for_clones();
  }
  if (k == 1 && clone_here(order(), passing) == 0) go_on(), wait_for_clones();
  go_on();
  stop = true;
  for (auto &t : threads) t.join();
}

static long signals_queued() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("SigQ:", 0) == 0) return atol(line.c_str() + 5);
  return -1;
}

// The signal that stops threads would stay pending in a kernel thread for ever.
TESTEE(polled_ring_keeps_no_signals) {
  Ring r(64, IORING_SETUP_SQPOLL);
  const long before = signals_queued();
  for (int i = 0; i < 20; i++)
    if (clone_here() > 0) return;
  wait_for_clones();
  CHECK(signals_queued() < before + 10);  // other processes of this user may have some
}
