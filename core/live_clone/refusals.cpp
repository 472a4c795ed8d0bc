// Which kinds of open files cannot be cloned, and the texts for them: one table for the preflight (also of another process)
// and the plan.
#include "descriptor.hpp"

namespace gridcentric::live_clone {
namespace {

struct Refused {
  const char *prefix;  // of the /proc/self/fd link
  const char *what;
};

constexpr Refused files[] = {
    {"anon_inode:[userfaultfd]", "a userfaultfd"},
    {"anon_inode:[perf_event]", "a perf event"},
    {"anon_inode:[fanotify]", "a fanotify group"},
    {"anon_inode:seccomp notify", "a seccomp listener"},
    {"anon_inode:kvm", "a KVM machine"},
    {"anon_inode:[vfio", "a VFIO device"},
    {"anon_inode:sync_file", "a GPU fence"},
    {"/dmabuf:", "a GPU buffer"},
    {"/secretmem", "secret memory"},
    {"/dev/kvm", "the KVM device"},
    {"/dev/nvidia", "a GPU"},
    {"/dev/dri/", "a GPU"},
    {"/dev/kfd", "a GPU"},
    {"/dev/vfio/", "a VFIO device"},
    {"/dev/fuse", "a FUSE connection"},
    {"/dev/net/tun", "a network tunnel"},
};

}  // namespace

const char *refused_file(const char *link) {
  for (const Refused &r : files)
    if (after(link, r.prefix)) return r.what;
  return nullptr;
}

// On the other side of these is the kernel or a device.
const char *refused_mapping(const char *name, bool shared) {
  if (after(name, "/[aio]") || after(name, "[aio]")) return "a libaio context (io_setup)";
  if (after(name, "/secretmem")) return "secret memory (memfd_secret)";
  if (is_ring(name)) return shared ? nullptr : "a private copy of an io_uring's memory";
  const bool device = after(name, "/dev/") && !after(name, "/dev/zero") && !after(name, "/dev/shm/");
  return shared && (device || after(name, "anon_inode:")) ? "a mapping shared with the kernel or a device"
                                                          : nullptr;
}

bool is_ring(const char *name) { return after(name, "anon_inode:[io_uring]"); }

// Before Linux 5.18 the counters are not here: the plan reads them from the ring itself.
const char *refused_ring(const char *fdinfo) {
  const auto value = [&](const char *key, unsigned long missing) {
    const char *p = field(fdinfo, key);
    unsigned long v = missing;
    if (p && *p >= '0' && *p <= '9') parse_dec(p, &v);
    return v;
  };
  const auto listed = [&](const char *key) {  // does the list under this heading have an entry?
    const char *p = field(fdinfo, key);
    return p && *(p = next_line(p)) == ' ';
  };
  if (value("UserFiles:", 0)) return "with registered files";
  if (value("UserBufs:", 0)) return "with registered buffers";
  if (field(fdinfo, "Personalities:")) return "with registered credentials";
  if (listed("PollList:") || listed("CqOverflowList:") || value("SqHead:", 0) != value("CqTail:", 0))
    return ring_in_flight;
  return nullptr;
}

const char *const ring_in_flight =
    "with work in flight, or one of whose requests do not each have one answer";
const char *const ring_without_memory =
    "whose memory is the program's own (IORING_SETUP_NO_MMAP) or is not mapped";
const char *const ring_with_large_requests = "with requests of 128 bytes (IORING_SETUP_SQE128)";
const char *const ring_with_many_requests =
    "that has taken more than 65536 requests, and may belong to a program that counts them";
const char *const ring_for_one_thread =
    "for another thread only (IORING_SETUP_SINGLE_ISSUER: clone from that one)";
const char *const small_polled_ring =
    "of fewer than 64 requests and with a kernel thread (SQPOLL): the kernel does not report the size of its "
    "requests";

const char *refused_socket(int family, int type, int protocol) {
  const bool internet = family == AF_INET || family == AF_INET6;
  if (family == AF_UNIX || family == AF_NETLINK) return nullptr;
  if (internet && type == SOCK_DGRAM && (protocol == 17 || protocol == 0)) return nullptr;
  if (internet && type == SOCK_STREAM && (protocol == 6 || protocol == 0)) return nullptr;
  if (internet && type == SOCK_RAW) return "a raw socket";
  if (internet) return "an internet socket that is neither TCP nor UDP";
  if (family == AF_PACKET) return "a packet socket";
  if (family == AF_VSOCK) return "a vsock socket";
  return "a socket of an unknown family";
}

Text &tell_refused(Text &text, int fd, const char *what, const char *more) {
  return text << "descriptor " << fd << " is " << what << more << ", which can't be cloned; close it first";
}

Text &tell_refused_mapping(Text &text, const char *why, const char *name) {
  return (text << why << " can't be cloned: ").path(name) << "; close it before the clone";
}

}  // namespace gridcentric::live_clone
