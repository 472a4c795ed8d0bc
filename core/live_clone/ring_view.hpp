// Our own mapping of an io_uring's memory: finds its counters and tables as io_uring_setup reports them. Does not know what
// is done with them: that is io_uring.cpp.
#pragma once

#include <linux/io_uring.h>
#include <sys/mman.h>

#include "sys.hpp"

namespace gridcentric::live_clone {

inline constexpr uint32_t no_indexes = 1u << 16;  // IORING_SETUP_NO_SQARRAY, Linux 6.6

inline uint32_t &word(char *base, uint32_t offset) { return *reinterpret_cast<uint32_t *>(base + offset); }

/// Our own mapping of a ring's memory.
class View {
 public:
  ~View() {
    if (rings > 0) sys(SYS_munmap, rings, rings_size);
    if (sqes > 0) sys(SYS_munmap, sqes, sqes_size);
  }
  bool has_indexes() const { return !(at.flags & no_indexes); }
  long map_rings(long fd, const io_uring_params &layout) {
    at = layout;
    const uint64_t answers = at.cq_off.cqes + cqes_size();
    const uint64_t indexes = at.sq_off.array + at.sq_entries * sizeof(uint32_t);
    rings_size = has_indexes() ? indexes : answers;
    return rings = map_part(fd, rings_size, IORING_OFF_SQ_RING);
  }
  long map_requests(long fd) {
    sqes_size = at.sq_entries * sizeof(io_uring_sqe);
    return sqes = map_part(fd, sqes_size, IORING_OFF_SQES);
  }
  uint32_t &sq_head() { return word((char *)rings, at.sq_off.head); }
  uint32_t &sq_tail() { return word((char *)rings, at.sq_off.tail); }
  uint32_t &cq_head() { return word((char *)rings, at.cq_off.head); }
  uint32_t &cq_tail() { return word((char *)rings, at.cq_off.tail); }
  uint32_t &sq_flags() { return word((char *)rings, at.sq_off.flags); }
  uint32_t &cq_flags() { return word((char *)rings, at.cq_off.flags); }
  /// Reads a value that the kernel may be changing at this moment.
  static uint32_t now(uint32_t &counter) { return __atomic_load_n(&counter, __ATOMIC_ACQUIRE); }
  bool all_taken() { return now(sq_head()) == now(sq_tail()); }
  bool all_answered() { return now(cq_tail()) == now(sq_head()); }
  uint32_t sq_mask() { return word((char *)rings, at.sq_off.ring_mask); }
  uint32_t cq_mask() { return word((char *)rings, at.cq_off.ring_mask); }
  uint32_t *indexes() { return &word((char *)rings, at.sq_off.array); }
  char *cqes() { return (char *)rings + at.cq_off.cqes; }
  io_uring_sqe *requests() { return (io_uring_sqe *)sqes; }
  size_t cqes_size() const { return at.cq_entries * sizeof(io_uring_cqe); }

  io_uring_params at{};
  size_t rings_size = 0, sqes_size = 0;
  long rings = 0, sqes = 0;

 private:
  static long map_part(long fd, size_t size, uint64_t offset) {
    return sys(SYS_mmap, nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
  }
};

}  // namespace gridcentric::live_clone
