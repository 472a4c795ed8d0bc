// An io_uring for testees: uses only system calls, so that it can act like every kind of user.
#pragma once

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
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "testee.hpp"

namespace testee {

constexpr unsigned no_sqarray = 1u << 16;  // IORING_SETUP_NO_SQARRAY, Linux 6.6

// test_testees.py skips all of these if no ring can be made at all.
struct Ring {
  io_uring_params p{};
  int fd = -1;
  char *rings = nullptr;
  io_uring_sqe *sqes = nullptr;
  size_t rings_size = 0, sqes_size = 0;
  unsigned private_tail = 0;  // like liburing's

  explicit Ring(unsigned entries, unsigned flags = 0, unsigned cq_entries = 0, unsigned idle_ms = 0,
                const Ring *beside = nullptr) {
    p.flags = flags | (cq_entries ? unsigned(IORING_SETUP_CQSIZE) : 0);
    p.sq_thread_idle = idle_ms;
    if (beside) p.flags |= IORING_SETUP_ATTACH_WQ, p.wq_fd = (unsigned)beside->fd;
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

  // Writes one request without submitting it; reads the tail from the ring, as libuv does.
  io_uring_sqe &place(unsigned char opcode) {
    io_uring_sqe &s = write_down(opcode);
    move_tail();
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
  // With a kernel thread (SQPOLL) a request is taken as soon as the tail has moved.
  io_uring_sqe &write_down(unsigned char opcode) {
    io_uring_sqe &s = sqes[sq_tail() & sq_mask()];
    memset(&s, 0, sizeof s);
    s.opcode = opcode;
    return s;
  }
  void publish() {
    move_tail();
    wake();
  }
  void move_tail() { __atomic_store_n(&sq_tail(), sq_tail() + 1, __ATOMIC_SEQ_CST); }
  void wake() {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (asleep()) CHECK_EQ(syscall(SYS_io_uring_enter, fd, 0, 0, IORING_ENTER_SQ_WAKEUP, nullptr, 0), 0L);
  }
  bool asleep() { return word(p.sq_off.flags) & IORING_SQ_NEED_WAKEUP; }
  void until_asleep() {
    until([this] { return asleep(); });
  }
  void wait_for_answer() {
    while (cq_head() == cq_tail()) enter(0, 1);
  }
  void polled_no_ops(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
      write_down(IORING_OP_NOP).user_data = i;
      publish();
      wait_for_answer();
      CHECK_EQ(next_answer().user_data, (unsigned long long)i);
    }
  }
  // As libuv does: adds the descriptor to the set through the ring. The request is complete before the tail moves.
  void add_to(int set, int target, epoll_event *event) {
    const unsigned slot = sq_tail() & sq_mask();
    complete(write_down(IORING_OP_EPOLL_CTL), slot, set, target, event);
  }
  void complete(io_uring_sqe &s, unsigned slot, int set, int target, epoll_event *event) {
    s.addr = (unsigned long long)event;
    s.fd = set;
    s.len = EPOLL_CTL_ADD;
    s.off = (unsigned long long)target;
    s.user_data = EPOLL_CTL_ADD | slot << 2 | (unsigned long long)target << 32;
    move_tail();
  }
  int flush() {  // all answers must be successes
    const unsigned n = sq_tail() - sq_head();
    const int taken = enter(n, n);
    CHECK_EQ((unsigned)taken, n);
    return taken;
  }
  void read_answers() {
    while (cq_head() != cq_tail()) CHECK_EQ(next_answer().res, 0);
  }
};

inline unsigned newest(unsigned flags) {  // the flag, if the kernel knows it
  Ring r(8, flags);
  const bool known = r.fd >= 0;
  if (known) r.close_all();
  return known ? flags : 0;
}

inline bool tells(const Ring &r, const std::string &key) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(r.fd));
  for (std::string line; std::getline(info, line);)
    if (line.rfind(key, 0) == 0) return true;
  return false;
}

// Does the kernel answer without waiting for what is in flight? If not, the preflight does not ask it.
inline bool answers_at_once() {
  utsname name{};
  int major = 0, minor = 0;
  CHECK(uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2);
  return major > 5 || (major == 5 && minor >= 18);
}

inline void refused_ring(Ring &r, const std::string &text, bool seen_from_outside = true) {
  CHECK(r.fd >= 0);
  const size_t before = count_descriptors();
  const auto outcome = live_clone::clone(order());
  if (outcome.index >= 0) fail(__FILE__, __LINE__, "cloned despite " + text);
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

inline void then_cloned(Ring &r) {
  r.close_all();
  CHECK(live_clone::preflight(order().mode).can_clone);
  clone_here();
}

}  // namespace testee
