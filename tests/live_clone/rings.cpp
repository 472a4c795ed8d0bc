// io_uring: a ring without work in flight goes on in master and clone, each its own, whoever counts in it; all else is
// refused by name. With system calls alone, so that every kind of user can be played.
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "testee.hpp"

using namespace testee;

static constexpr unsigned no_sqarray = 1u << 16;  // IORING_SETUP_NO_SQARRAY, Linux 6.6

namespace {

// The driver (test_testees.py) skips all of these where no ring can be made at all.
struct Ring {
  io_uring_params p{};
  int fd = -1;
  char *rings = nullptr;
  io_uring_sqe *sqes = nullptr;
  size_t rings_size = 0, sqes_size = 0;
  unsigned private_tail = 0;  // as liburing keeps one

  explicit Ring(unsigned entries, unsigned flags = 0, unsigned cq_entries = 0) {
    p.flags = flags | (cq_entries ? unsigned(IORING_SETUP_CQSIZE) : 0);
    p.cq_entries = cq_entries;
    fd = (int)syscall(SYS_io_uring_setup, entries, &p);
    if (fd < 0) return;
    rings_size = p.cq_off.cqes + p.cq_entries * (flags & IORING_SETUP_CQE32 ? 32 : 16);
    if (!(flags & no_sqarray)) rings_size = p.sq_off.array + p.sq_entries * 4;
    sqes_size = p.sq_entries * (flags & IORING_SETUP_SQE128 ? 128 : 64);
    rings = map(rings_size, IORING_OFF_SQ_RING);
    sqes = (io_uring_sqe *)map(sqes_size, IORING_OFF_SQES);
    if (!(flags & no_sqarray))
      for (unsigned i = 0; i < p.sq_entries; i++) word(p.sq_off.array + i * 4) = i;
  }
  char *map(size_t size, off_t offset) {
    void *at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
    CHECK(at != MAP_FAILED);
    return (char *)at;
  }
  void close_all() {
    munmap(rings, rings_size);
    munmap(sqes, sqes_size);
    close(fd);
  }
  volatile unsigned &word(unsigned offset) { return *(volatile unsigned *)(rings + offset); }
  volatile unsigned &sq_head() { return word(p.sq_off.head); }
  volatile unsigned &sq_tail() { return word(p.sq_off.tail); }
  volatile unsigned &cq_head() { return word(p.cq_off.head); }
  volatile unsigned &cq_tail() { return word(p.cq_off.tail); }
  unsigned sq_mask() { return word(p.sq_off.ring_mask); }
  unsigned cq_mask() { return word(p.cq_off.ring_mask); }
  io_uring_cqe &answer(unsigned i) { return ((io_uring_cqe *)(rings + p.cq_off.cqes))[i & cq_mask()]; }

  io_uring_cqe &next_answer() {
    const unsigned head = cq_head();
    cq_head() = head + 1;
    return answer(head);
  }

  // Places one request without handing it in; the tail is read from the ring, as libuv does.
  io_uring_sqe &place(unsigned char opcode) {
    io_uring_sqe &s = sqes[sq_tail() & sq_mask()];
    memset(&s, 0, sizeof s);
    s.opcode = opcode;
    __atomic_store_n(&sq_tail(), sq_tail() + 1, __ATOMIC_RELEASE);
    return s;
  }
  int enter(unsigned submit, unsigned wait) {
    return (int)syscall(SYS_io_uring_enter, fd, submit, wait, IORING_ENTER_GETEVENTS, nullptr, 0);
  }
  void no_ops(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
      place(IORING_OP_NOP).user_data = i;
      CHECK_EQ(enter(1, 1), 1);
      CHECK_EQ(answer(cq_head()).user_data, (unsigned long long)i);
      cq_head() = cq_head() + 1;
    }
  }
  // As libuv does: adds the descriptor to the set through the ring.
  void add_to(int set, int target, epoll_event *event) {
    const unsigned slot = sq_tail() & sq_mask();
    io_uring_sqe &s = place(IORING_OP_EPOLL_CTL);
    s.addr = (unsigned long long)event;
    s.fd = set;
    s.len = EPOLL_CTL_ADD;
    s.off = (unsigned long long)target;
    s.user_data = EPOLL_CTL_ADD | slot << 2 | (unsigned long long)target << 32;
  }
  int flush() {  // all answers must be success
    const unsigned n = sq_tail() - sq_head();
    const int taken = enter(n, n);
    CHECK_EQ((unsigned)taken, n);
    return taken;
  }
  void read_answers() {
    while (cq_head() != cq_tail()) CHECK_EQ(next_answer().res, 0);
  }
};

unsigned newest(unsigned flags) {  // the flag, where the kernel knows it
  Ring r(8, flags);
  const bool known = r.fd >= 0;
  if (known) r.close_all();
  return known ? flags : 0;
}

bool tells(const Ring &r, const std::string &key) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(r.fd));
  for (std::string line; std::getline(info, line);)
    if (line.rfind(key, 0) == 0) return true;
  return false;
}

void refused_ring(Ring &r, const std::string &text, bool seen_from_outside = true) {
  CHECK(r.fd >= 0);
  const size_t before = count_descriptors();
  const auto outcome = live_clone::clone(order());
  if (outcome.index >= 0) fail(__FILE__, __LINE__, "cloned in spite of " + text);
  const std::string expected = "descriptor " + std::to_string(r.fd) + " is an io_uring " + text;
  if (outcome.message.find(expected) == std::string::npos)
    fail(__FILE__, __LINE__, "'" + outcome.message + "' does not say " + expected);
  CHECK_EQ(outcome.err, EOPNOTSUPP);
  CHECK_EQ(count_descriptors(), before);
  for (const auto &p :
       {live_clone::preflight(order().mode), live_clone::preflight_of(getpid(), order().mode)}) {
    CHECK_EQ(p.can_clone, !seen_from_outside);
    if (seen_from_outside) CHECK(p.refusals.at(0).what.find(expected) != std::string::npos);
  }
}

void then_cloned(Ring &r) {
  r.close_all();
  CHECK(live_clone::preflight(order().mode).can_clone);
  clone_here();
}

}  // namespace

// The ring of a libuv loop: used before, its epoll set too, and used on.
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
  for (unsigned i = 0; i < 1000; i++) {  // more than once around
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
TESTEE(ring_of_libuv_long_in_use) {  // more than no-ops could bring level
  Ring r(256, newest(no_sqarray));
  const int set = epoll_create1(EPOLL_CLOEXEC), counter = eventfd(0, EFD_CLOEXEC);
  epoll_event event{};
  for (unsigned i = 0; i < 70000; i++) {
    r.add_to(set, counter, &event);
    r.flush();
    r.cq_head() = r.cq_tail();
    epoll_ctl(set, EPOLL_CTL_DEL, counter, &event);
  }
  clone_here();
  r.add_to(set, counter, &event);
  r.flush();
  r.read_answers();
}

// A loop can be stopped between its writing of requests and its handing in, and before it reads the answers.
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

// liburing writes its own tail over the ring's: a ring that began at 0 again would do old requests once more.
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
  refused_ring(r, "that has taken more than 65536 requests", false);
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

// Several rings, and each has its own again; one is known under two numbers.
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

// A ring is in an epoll set: it wakes its own process only.
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

// Work of master and clone stays apart.
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

// A ring of each thread, all busy while they are stopped again and again.
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

// A kernel thread that has done work for a ring waits for more: it is no thread of the program.
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

TESTEE(refuses_ring_with_work_in_flight) {
  Ring r(64);
  int ends[2];
  CHECK(pipe(ends) == 0);
  io_uring_sqe &s = r.place(IORING_OP_POLL_ADD);
  s.fd = ends[0], s.poll32_events = POLLIN;
  CHECK_EQ(r.enter(1, 0), 1);
  refused_ring(r, "with work in flight");
  CHECK(write(ends[1], "x", 1) == 1);
  while (r.cq_head() == r.cq_tail()) r.enter(0, 1);
  r.cq_head() = r.cq_head() + 1;
  clone_here();
  r.no_ops(3);
}

TESTEE(refuses_ring_with_a_read_in_flight) {
  Ring r(64);
  int ends[2];
  CHECK(pipe(ends) == 0);
  char text[8];
  io_uring_sqe &s = r.place(IORING_OP_READ);
  s.fd = ends[0], s.addr = (unsigned long long)text, s.len = sizeof text;
  CHECK_EQ(r.enter(1, 0), 1);
  refused_ring(r, "with work in flight");
  CHECK(write(ends[1], "x", 1) == 1);
  then_cloned(r);
}

TESTEE(refuses_ring_with_a_kernel_thread) {
  Ring r(4, IORING_SETUP_SQPOLL);
  refused_ring(r,
               "with a kernel thread (SQPOLL; of Node or uvloop: start the program with UV_USE_IO_URING=0");
  then_cloned(r);
}

TESTEE(refuses_ring_with_registered_files) {
  Ring r(8);
  const int file = open("/dev/null", O_RDWR);
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_FILES, &file, 1) == 0);
  refused_ring(r, "with registered files");
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_UNREGISTER_FILES, nullptr, 0) == 0);
  clone_here();
  r.no_ops(3);
}

TESTEE(refuses_ring_with_registered_buffers) {
  Ring r(8);
  static char buffer[4096];
  iovec v{buffer, sizeof buffer};
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &v, 1) == 0);
  refused_ring(r, "with registered buffers");
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_UNREGISTER_BUFFERS, nullptr, 0) == 0);
  clone_here();
  r.no_ops(3);
}

// Not every kernel tells of them. Where one does not, a request in their name fails in a clone.
TESTEE(refuses_ring_with_registered_credentials) {
  Ring r(8);
  const long id = syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_PERSONALITY, nullptr, 0);
  CHECK(id >= 0);
  if (tells(r, "Personalities:")) {
    refused_ring(r, "with registered credentials");
    CHECK(syscall(SYS_io_uring_register, r.fd, IORING_UNREGISTER_PERSONALITY, nullptr, id) == 0);
  }
  const int k = clone_here();
  r.place(IORING_OP_NOP).personality = (unsigned short)id;
  r.enter(1, 1);
  if (k) CHECK_EQ(r.answer(r.cq_head()).res, -EINVAL);
  r.cq_head() = r.cq_tail();
  r.no_ops(3);
}

TESTEE(refuses_ring_with_registered_eventfd) {
  Ring r(8);
  const int fd = eventfd(0, EFD_CLOEXEC);
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_EVENTFD, &fd, 1) == 0);
  refused_ring(r, "with a registered eventfd", false);
  r.no_ops(1);
  unsigned long long count = 0;
  CHECK(read(fd, &count, 8) == 8 && count == 1);  // still the program's
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_UNREGISTER_EVENTFD, nullptr, 0) == 0);
  clone_here();
  r.no_ops(3);
}

TESTEE(refuses_ring_not_enabled) {
  Ring r(8, IORING_SETUP_R_DISABLED);
  refused_ring(r, "that is not enabled yet", false);
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0);
  clone_here();
  r.no_ops(3);
}

TESTEE(refuses_ring_without_memory) {
  Ring r(8);
  munmap(r.rings, r.rings_size);
  munmap(r.sqes, r.sqes_size);
  refused_ring(r, "whose memory is the program's own (IORING_SETUP_NO_MMAP) or is not mapped");
  close(r.fd);
  clone_here();
}

TESTEE(refuses_memory_of_a_closed_ring) {
  Ring r(8);
  close(r.fd);
  const auto outcome = live_clone::clone(order());
  CHECK_EQ(outcome.err, EOPNOTSUPP);
  CHECK(outcome.message.find("belongs to no open descriptor") != std::string::npos);
  munmap(r.rings, r.rings_size);
  munmap(r.sqes, r.sqes_size);
  clone_here();
}

static void refuses_larger(unsigned flag, unsigned entries, const std::string &text) {
  if (!newest(flag)) return (void)clone_here();
  Ring r(entries, flag);
  refused_ring(r, text, false);
  then_cloned(r);
}

TESTEE(refuses_ring_with_large_requests) {
  refuses_larger(IORING_SETUP_SQE128, 8, "with requests of 128 bytes");
}
TESTEE(refuses_ring_with_large_answers) { refuses_larger(IORING_SETUP_CQE32, 8, "with answers of 32 bytes"); }
TESTEE(refuses_ring_with_large_requests_no_array) {
  refuses_larger(IORING_SETUP_SQE128 | newest(no_sqarray), 64, "with requests of 128 bytes");
}
TESTEE(refuses_small_ring_without_array) {
  refuses_larger(no_sqarray, 8, "of fewer than 64 requests and without a table of indexes");
}
