// What can be known about an io_uring while its program runs. Most is in its fdinfo; the size of its requests shows in how
// much of it is mapped; for the rest the kernel is asked, in a way that changes nothing. Unknown until the program is
// stopped: requests or answers of another size if less than a page is mapped, and everything that only the kernel can tell
// if it is older than 5.18 or does not let us copy the descriptor.
#include "preflight_rings.hpp"

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "descriptor.hpp"
#include "preflight_open_files.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr unsigned long long page = 4096;

bool told(const std::string &info, const char *key) { return field(info.c_str(), key); }

unsigned long number(const std::string &info, const char *key) {
  const char *value = field(info.c_str(), key);
  return value ? strtoul(value, nullptr, 0) : 0;
}

// Before Linux 5.18 asking about a ring waits until nothing is in flight in it.
bool kernel_answers_at_once() {
  utsname name{};
  int major = 0, minor = 0;
  return uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
         (major > 5 || (major == 5 && minor >= 18));
}

}  // namespace

void RingsSeen::descriptor(const std::string &fd, const std::string &fdinfo) {
  const char *inode = field(fdinfo.c_str(), "ino:");
  rings_.push_back({fd, fdinfo, inode ? std::to_string(strtoull(inode, nullptr, 10)) : ""});
}

void RingsSeen::mapping(const std::string &inode, unsigned long long offset, unsigned long long size) {
  mapped_.push_back({inode, offset == IORING_OFF_SQES, size});
}

std::vector<RingsSeen::Answer> RingsSeen::answers() const {
  std::vector<Answer> all;
  for (const Seen &ring : rings_) {
    const char *why = refusal(ring);
    if (why == ring_for_one_thread && !self_)
      all.push_back(
          {ring.fd, nullptr,
           "an io_uring for one thread only (IORING_SETUP_SINGLE_ISSUER): only that thread can clone"});
    else if (why)
      all.push_back({ring.fd, why, ""});
  }
  return all;
}

const char *RingsSeen::refusal(const Seen &ring) const {
  if (const char *why = refused_ring(ring.fdinfo.c_str())) return why;
  if (const char *why = refusal_by_sizes(ring)) return why;
  return asked_of_the_kernel(ring);
}

const char *RingsSeen::refusal_by_sizes(const Seen &ring) const {
  // Older kernels give all rings the same inode, and do not report sizes and counts.
  size_t of_that_inode = 0;
  for (const Seen &other : rings_) of_that_inode += other.inode == ring.inode;
  bool mapped = false;
  unsigned long long requests = 0;
  for (const Mapped &mapping : mapped_) {
    if (mapping.inode != ring.inode) continue;
    mapped = true;
    if (mapping.requests && mapping.size > requests) requests = mapping.size;
  }
  if (!ring.inode.empty() && !mapped) return ring_without_memory;
  if (!told(ring.fdinfo, "SqMask:")) return nullptr;
  const unsigned long long entries = number(ring.fdinfo, "SqMask:") + 1;
  if (of_that_inode == 1 && requests > (entries * sizeof(io_uring_sqe) + page - 1) / page * page)
    return ring_with_large_requests;
  const bool polled = told(ring.fdinfo, "SqThread:") && atoi(field(ring.fdinfo.c_str(), "SqThread:")) > 0;
  if (polled && entries * sizeof(io_uring_sqe) < page && told(ring.fdinfo, "SQEs:")) return small_polled_ring;
  const bool libuvs = entries == 256 && number(ring.fdinfo, "CqMask:") == 511;
  return !libuvs && number(ring.fdinfo, "SqHead:") > most_no_ops ? ring_with_many_requests : nullptr;
}

const char *RingsSeen::asked_of_the_kernel(const Seen &ring) const {
  if (!kernel_answers_at_once()) return nullptr;
  if (self_) return refused_by_kernel(atoi(ring.fd.c_str()));
  const int copy = copy_of_descriptor(pid_, atoi(ring.fd.c_str()));
  if (copy < 0) return nullptr;
  const char *why = refused_by_kernel(copy);
  close(copy);
  return why;
}

}  // namespace gridcentric::live_clone
