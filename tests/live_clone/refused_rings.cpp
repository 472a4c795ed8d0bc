// Rings that cannot be recreated are refused by name, and once the obstacle is gone the program can be cloned.
#include <sched.h>

#include "ring.hpp"

using namespace testee;

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

// A kernel thread takes a request by itself, and then waits for its answer like any other thread.
TESTEE(refuses_polled_ring_with_work_in_flight) {
  Ring r(64, IORING_SETUP_SQPOLL);
  int ends[2];
  CHECK(pipe(ends) == 0);
  char text[8];
  io_uring_sqe &s = r.write_down(IORING_OP_READ);
  s.fd = ends[0], s.addr = (unsigned long long)text, s.len = sizeof text;
  r.publish();
  until([&] { return r.sq_head() == 1; });
  refused_ring(r, "with work in flight");
  CHECK(write(ends[1], "x", 1) == 1);
  r.wait_for_answer();
  CHECK_EQ(r.next_answer().res, 1);
  clone_here();
  r.polled_no_ops(3);
}

TESTEE(refuses_small_polled_ring) {
  if (!newest(IORING_SETUP_SQE128)) return (void)clone_here();
  Ring r(32, IORING_SETUP_SQPOLL);
  r.polled_no_ops(3);
  refused_ring(r, "of fewer than 64 requests and with a kernel thread (SQPOLL)");
  then_cloned(r);
}

TESTEE(refuses_polled_ring_with_large_requests) {
  if (!newest(IORING_SETUP_SQE128)) return (void)clone_here();
  Ring r(64, IORING_SETUP_SQPOLL | IORING_SETUP_SQE128);
  refused_ring(r, "with requests of 128 bytes");
  then_cloned(r);
}

TESTEE(refuses_polled_ring_with_large_answers) {
  if (!newest(IORING_SETUP_CQE32)) return (void)clone_here();
  Ring r(64, IORING_SETUP_SQPOLL | IORING_SETUP_CQE32);
  refused_ring(r, "with answers of 32 bytes", false);
  then_cloned(r);
}

// Its kernel thread belonged to a process that has ended; we shared only its descriptor table.
TESTEE(refuses_polled_ring_of_another) {
  const long child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) {
    io_uring_params p{};
    p.flags = IORING_SETUP_SQPOLL;
    _exit((int)syscall(SYS_io_uring_setup, 64, &p));
  }
  int status = 0;
  CHECK_EQ((long)waitpid((pid_t)child, &status, 0), child);
  Ring r(64);
  close(r.fd);
  r.fd = WEXITSTATUS(status);
  munmap(r.rings, r.rings_size);
  munmap(r.sqes, r.sqes_size);
  r.rings = r.map(r.rings_size, IORING_OFF_SQ_RING);
  r.sqes = (io_uring_sqe *)r.map(r.sqes_size, IORING_OFF_SQES);
  refused_ring(r, "whose kernel thread (SQPOLL) has ended", answers_at_once());
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
  // Memory of no file: before Linux 5.12 no other can be registered.
  void *buffer = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  iovec v{buffer, 4096};
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &v, 1) == 0);
  refused_ring(r, "with registered buffers");
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_UNREGISTER_BUFFERS, nullptr, 0) == 0);
  clone_here();
  r.no_ops(3);
}

// Not every kernel reports them. If it does not, a request that uses them fails in a clone.
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
  refused_ring(r, "with a registered eventfd", answers_at_once());
  r.no_ops(1);
  unsigned long long count = 0;
  CHECK(read(fd, &count, 8) == 8 && count == 1);  // still the program's
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_UNREGISTER_EVENTFD, nullptr, 0) == 0);
  clone_here();
  r.no_ops(3);
}

TESTEE(refuses_ring_not_enabled) {
  Ring r(8, IORING_SETUP_R_DISABLED);
  refused_ring(r, "that is not enabled yet", answers_at_once());
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0);
  clone_here();
  r.no_ops(3);
}

TESTEE(refuses_ring_without_memory) {
  Ring r(8);
  munmap(r.rings, r.rings_size);
  munmap(r.sqes, r.sqes_size);
  const char *why = "whose memory is the program's own (IORING_SETUP_NO_MMAP) or is not mapped";
  refused_ring(r, why, tells(r, "ino:"));
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

TESTEE(refuses_ring_with_restrictions) {
  Ring r(8, IORING_SETUP_R_DISABLED);
  io_uring_restriction only_no_ops{};
  only_no_ops.opcode = IORING_RESTRICTION_SQE_OP;
  only_no_ops.sqe_op = IORING_OP_NOP;
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_RESTRICTIONS, &only_no_ops, 1) == 0);
  CHECK(syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0);
  refused_ring(r, "with restrictions", answers_at_once());
  then_cloned(r);
}

// The thread that it is for can clone, others cannot.
TESTEE(refuses_ring_for_another_thread) {
  if (!newest(IORING_SETUP_SINGLE_ISSUER)) return (void)clone_here();
  Ring r(64, IORING_SETUP_SINGLE_ISSUER);
  r.no_ops(3);
  std::thread([&r] {
    const auto outcome = live_clone::clone(order());
    CHECK_EQ(outcome.err, EOPNOTSUPP);
    CHECK(outcome.message.find("an io_uring for another thread only") != std::string::npos);
    const auto ours = live_clone::preflight(order().mode),
               outside = live_clone::preflight_of(getpid(), order().mode);
    CHECK(ours.refusals.at(0).what.find("an io_uring for another thread only") != std::string::npos);
    CHECK(outside.can_clone);
    bool noted = false;  // among notes on what threads are doing
    for (const std::string &note : outside.notes)
      noted = noted || note.find("only that thread can clone") != std::string::npos;
    CHECK(noted);
  }).join();
  CHECK(live_clone::preflight(order().mode).can_clone);
  clone_here();
  r.no_ops(3);
}

static void refuses_larger(unsigned flag, unsigned entries, const std::string &text,
                           bool seen_from_outside = false) {
  if (!newest(flag)) return (void)clone_here();
  Ring r(entries, flag);
  refused_ring(r, text, seen_from_outside);
  then_cloned(r);
}

TESTEE(refuses_ring_with_large_requests) {
  refuses_larger(IORING_SETUP_SQE128, 8, "with requests of 128 bytes");
}
TESTEE(refuses_ring_with_large_answers) { refuses_larger(IORING_SETUP_CQE32, 8, "with answers of 32 bytes"); }
TESTEE(refuses_ring_with_large_requests_no_array) {
  refuses_larger(IORING_SETUP_SQE128 | newest(no_sqarray), 64, "with requests of 128 bytes", true);
}
TESTEE(refuses_small_ring_without_array) {
  refuses_larger(no_sqarray, 8, "of fewer than 64 requests and without a table of indexes");
}
