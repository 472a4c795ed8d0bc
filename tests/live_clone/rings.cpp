// A ring without work in flight goes on in master and clone, each with its own, whether or not the program keeps counts.
// Refusals are in refused_rings.cpp.
#include "ring.hpp"

using namespace testee;

// The ring of a libuv loop, used before and after the clone, together with its epoll set.
static void libuv_ring(unsigned flags, unsigned times) {
  Ring r(256, flags);
  CHECK(r.fd >= 0);
  const int set = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  std::vector<int> counters;
  for (unsigned i = 0; i < times; i++) {
    counters.push_back(eventfd(1, EFD_CLOEXEC));
    event.data.fd = counters[i];
    r.add_to(set, counters[i], &event);
    r.flush();
    r.read_answers();
    if (i + 4 < times) close(counters[i]);
  }
  CHECK(live_clone::preflight(order().mode).can_clone);
  const int k = clone_here();
  for (unsigned i = 0; i < 1000; i++) {  // wraps around
    const int later = eventfd(1, EFD_CLOEXEC);
    event.data.fd = later;
    r.add_to(set, later, &event);
    r.flush();
    r.read_answers();
    epoll_event found[8];
    const int n = epoll_wait(set, found, 8, 0);
    CHECK_EQ((unsigned)n, 1 + (times < 4 ? times : 4));
    close(later);
  }
  if (k == 0) wait_for_clones();
}

TESTEE(ring_of_libuv) { libuv_ring(newest(no_sqarray), 20); }
TESTEE(ring_of_libuv_fresh) { libuv_ring(newest(no_sqarray), 0); }
TESTEE(ring_of_libuv_on_old_kernels) { libuv_ring(0, 300); }
TESTEE(ring_of_libuv_long_in_use) {  // more than no-ops can catch up with
  Ring r(256, newest(no_sqarray));
  const int set = epoll_create1(EPOLL_CLOEXEC), counter = eventfd(0, EFD_CLOEXEC);
  epoll_event event{};
  for (unsigned i = 0; i < 70000; i++) {
    r.add_to(set, counter, &event);
    r.flush();
    r.cq_head() = r.cq_tail();
    epoll_ctl(set, EPOLL_CTL_DEL, counter, &event);
  }
  // As the clone may come while a request is written, its place is known before and the rest follows after.
  const unsigned slot = r.sq_tail() & r.sq_mask();
  io_uring_sqe &begun = r.write_down(IORING_OP_EPOLL_CTL);
  clone_here();
  r.complete(begun, slot, set, counter, &event);
  r.flush();
  const io_uring_cqe &answer = r.next_answer();
  CHECK_EQ(answer.res, 0);
  CHECK_EQ(answer.user_data, begun.user_data);
  CHECK_EQ(epoll_ctl(set, EPOLL_CTL_DEL, counter, &event), 0);
}

// A loop can be stopped between writing requests and submitting them, and before it reads the answers.
TESTEE(ring_of_libuv_stopped_midway) {
  Ring r(256, newest(no_sqarray));
  const int set = epoll_create1(EPOLL_CLOEXEC);
  int fds[700];
  epoll_event event{};
  for (int i = 0; i < 700; i++) {
    fds[i] = eventfd(0, EFD_CLOEXEC);
    r.add_to(set, fds[i], &event);
    if (i < 650 || i == 652) r.flush();
    if (i < 650) r.read_answers();
  }
  CHECK_EQ(r.cq_tail() - r.cq_head(), 3u);
  CHECK_EQ(r.sq_tail() - r.sq_head(), 47u);
  clone_here();
  CHECK_EQ(r.cq_tail() - r.cq_head(), 3u);
  for (int i = 650; i < 653; i++) {
    const io_uring_cqe &c = r.next_answer();
    CHECK_EQ(c.res, 0);
    CHECK_EQ(c.user_data, (EPOLL_CTL_ADD | (unsigned)(i & 255) << 2 | (unsigned long long)fds[i] << 32));
  }
  r.flush();
  r.read_answers();
  event.events = EPOLLIN;
  for (int fd : fds) CHECK(epoll_ctl(set, EPOLL_CTL_MOD, fd, &event) == 0);  // all are in
}

// liburing overwrites the ring's tail with its own: a ring that started at 0 would repeat old requests.
static void private_tail(unsigned entries, unsigned flags, unsigned before) {
  Ring r(entries, flags);
  CHECK(r.fd >= 0);
  r.no_ops(before);
  r.private_tail = r.sq_tail();
  unsigned head = r.cq_head();
  clone_here();
  for (unsigned i = 0; i < 100; i++) {
    io_uring_sqe &s = r.sqes[r.private_tail++ & r.sq_mask()];
    memset(&s, 0, sizeof s);
    s.user_data = 1000 + i;
    __atomic_store_n(&r.sq_tail(), r.private_tail, __ATOMIC_RELEASE);
    CHECK_EQ(r.enter(r.private_tail - r.sq_head(), 1), 1);
    CHECK_EQ(r.cq_tail() - head, 1u);
    CHECK_EQ(r.answer(head).user_data, 1000ull + i);
    r.cq_head() = ++head;
  }
}

TESTEE(ring_with_a_private_tail) { private_tail(8, 0, 1234); }
TESTEE(ring_with_a_private_tail_fresh) { private_tail(64, newest(no_sqarray), 0); }
TESTEE(ring_with_a_private_tail_no_array) { private_tail(128, newest(no_sqarray), 5000); }
TESTEE(ring_without_room_for_an_array) { private_tail(1024, newest(no_sqarray), 3000); }
TESTEE(ring_with_a_private_tail_long_in_use) {
  Ring r(8);
  r.no_ops(65537);
  refused_ring(r, "that has taken more than 65536 requests", tells(r, "SqHead:"));
  then_cloned(r);
}

TESTEE(ring_with_sizes_of_its_own) {
  Ring r(4, 0, 128);
  r.no_ops(10);
  CHECK_EQ(r.p.cq_entries, 128u);
  clone_here();
  CHECK_EQ(r.cq_mask(), 127u);
  r.no_ops(300);
}

// Several rings, each with its own counterpart in the clone; one has two descriptors.
TESTEE(rings_and_duplicates) {
  Ring a(64), b(64), c(256, newest(no_sqarray));
  const int again = dup(b.fd);
  a.no_ops(3), b.no_ops(5);
  clone_here();
  a.no_ops(10), b.no_ops(20), c.no_ops(30);
  CHECK_EQ(a.sq_head(), 13u);
  CHECK_EQ(b.sq_head(), 25u);
  b.place(IORING_OP_NOP);
  CHECK_EQ(syscall(SYS_io_uring_enter, again, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0), 1L);
  CHECK_EQ(b.cq_tail() - b.cq_head(), 1u);
}

// A ring in an epoll set wakes only its own process.
TESTEE(ring_in_an_epoll_set) {
  Ring r(64);
  const int set = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 77;
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, r.fd, &event) == 0);
  r.no_ops(2);
  const int k = clone_here();
  epoll_event found{};
  CHECK_EQ(epoll_wait(set, &found, 1, 0), 0);
  if (k == 0) wait_for_clones();
  CHECK_EQ(epoll_wait(set, &found, 1, 0), 0);
  r.place(IORING_OP_NOP);
  CHECK_EQ(r.enter(1, 1), 1);
  CHECK_EQ(epoll_wait(set, &found, 1, 0), 1);
  CHECK_EQ(found.data.u64, 77ull);
}

// Work of master and clone stays separate.
TESTEE(ring_work_stays_apart) {
  Ring r(64);
  int ends[2];
  CHECK(pipe(ends) == 0);
  const int k = clone_here();
  char text[32] = {}, mine[32];
  snprintf(mine, sizeof mine, "of %d", k);
  io_uring_sqe &read = r.place(IORING_OP_READ);
  read.fd = ends[0], read.addr = (unsigned long long)text, read.len = sizeof text, read.user_data = 1;
  CHECK_EQ(r.enter(1, 0), 1);
  CHECK(write(ends[1], mine, strlen(mine)) == (ssize_t)strlen(mine));
  while (r.cq_head() == r.cq_tail()) r.enter(0, 1);
  CHECK_EQ(r.next_answer().res, (int)strlen(mine));
  CHECK(strcmp(text, mine) == 0);
}

// A ring per thread, all busy while they are stopped again and again.
TESTEE(rings_of_busy_threads) {
  std::atomic<bool> stop{false};
  std::atomic<unsigned> rounds[3] = {};
  std::vector<std::thread> threads;
  const unsigned flag = newest(no_sqarray);
  for (auto &counter : rounds)
    threads.emplace_back([&stop, &counter, flag] {
      Ring r(256, flag);
      const int set = epoll_create1(EPOLL_CLOEXEC), fd = eventfd(0, EFD_CLOEXEC);
      epoll_event event{};
      while (!stop) {
        r.add_to(set, fd, &event);
        r.flush();
        r.read_answers();
        CHECK(epoll_ctl(set, EPOLL_CTL_DEL, fd, &event) == 0);
        counter++;
      }
      r.close_all();
      close(set), close(fd);
    });
  for (auto &counter : rounds) until([&] { return counter > 10; });
  int k = 0;
  for (int i = 0; i < 4 && k == 0; i++) {
    k = clone_here();
    for (auto &counter : rounds) {
      const unsigned now = counter;
      until([&] { return counter > now + 50; });
    }
    if (k == 0) wait_for_clones();
  }
  stop = true;
  for (auto &t : threads) t.join();
}

// A kernel thread that has worked for a ring waits for more; it is not a thread of the program.
TESTEE(ring_with_an_idle_worker) {
  Ring r(64);
  const int fd = open("/dev/zero", O_RDONLY);
  char text[16];
  io_uring_sqe &s = r.place(IORING_OP_READ);
  s.fd = fd, s.addr = (unsigned long long)text, s.len = sizeof text, s.flags = IOSQE_ASYNC;
  CHECK_EQ(r.enter(1, 1), 1);
  CHECK_EQ(r.next_answer().res, (int)sizeof text);
  CHECK(live_clone::preflight(order().mode).notes.empty());
  clone_here();
  r.no_ops(3);
}
