// What can't be cloned, by what an open file is: one table for the preflight (also of another process) and
// the plan.
#include "descriptor.hpp"

namespace gridcentric::live_clone {
namespace {

struct Refused {
  const char *prefix;  // of the /proc/self/fd link
  const char *what;
};

constexpr Refused files[] = {
    {"anon_inode:[io_uring]",
     "an io_uring (of Node or uvloop? start the program with UV_USE_IO_URING=0 in its environment)"},
    {"anon_inode:[userfaultfd]", "a userfaultfd"},
    {"anon_inode:[perf_event]", "a perf event"},
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

}  // namespace gridcentric::live_clone
