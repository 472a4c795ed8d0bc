// See preflight_sockets.hpp. Another process's socket is looked at through a copy of its descriptor.
#include "preflight_sockets.hpp"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "descriptor.hpp"
#include "groups.hpp"
#include "preflight_text.hpp"

namespace gridcentric::live_clone {

void SocketsSeen::note(int fd, const std::string &what) {
  notes_.push_back("descriptor " + std::to_string(fd) + ": " + what);
}

void SocketsSeen::look_at(int fd, const std::string &link, bool shared) {
  const auto inode = (uint32_t)strtoul(link.c_str() + strlen("socket:["), nullptr, 10);
  int own = fd;
  if (!self_) {
    const int pidfd = (int)syscall(SYS_pidfd_open, atoi(proc_.c_str() + strlen("/proc/")), 0);
    own = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    if (pidfd >= 0) close(pidfd);
    if (own < 0) {
      unseen_++;
      return;
    }
  }
  const int family = socket_option(own, SOL_SOCKET, SO_DOMAIN),
            type = socket_option(own, SOL_SOCKET, SO_TYPE),
            protocol = socket_option(own, SOL_SOCKET, SO_PROTOCOL);
  if (const char *why = family >= 0 ? refused_socket(family, type, protocol) : nullptr) {
    refusals_.push_back(
        {EOPNOTSUPP, said([&](Text &text) { tell_refused(text, fd, why, Path(" (family ", family, ")")); })});
  } else if (!shared) {
    const bool listens = socket_option(own, SOL_SOCKET, SO_ACCEPTCONN) > 0;
    if (family == AF_UNIX && listens) note(fd, path_stays);
    if (family == AF_UNIX && !listens) {
      inodes_.push_back(inode);
      const std::string info = read_text(proc_ + "/fdinfo/" + std::to_string(fd));
      const char *queued = field(info.c_str(), "scm_fds:");
      if (queued && *queued != '0') in_flight_.push_back({fd, inode});
    }
    if (family != AF_UNIX && type == SOCK_DGRAM) look_at_groups(fd, own);
  }
  if (!self_) close(own);
}

void SocketsSeen::look_at_groups(int fd, int own) {
  if (receives_a_group_alone(own)) return;
  if (group_texts_.empty())
    for (const char *file : group_files) group_texts_.push_back(read_text(proc_ + "/" + file));
  for (size_t i = 0; i < group_texts_.size(); i++) {
    Group group{};
    for (const char *text = group_texts_[i].c_str(); next_group(&text, i == 1, &group);)
      if (is_member(own, group))
        notes_.push_back(said([&](Text &said_of) { tell_lost_group(said_of, fd, group); }));
  }
}

std::vector<std::string> SocketsSeen::notes() {
  const int diag = in_flight_.empty() ? -1 : socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  for (const InFlight &s : in_flight_)  // of a connection to somebody else they are the master's
    if (diag >= 0 && std::find(inodes_.begin(), inodes_.end(), unix_peer(diag, s.inode)) != inodes_.end())
      note(s.fd, descriptors_in_flight);
  if (diag >= 0) close(diag);
  if (unseen_) notes_.push_back(std::to_string(unseen_) + " sockets could not be looked at (not permitted)");
  return notes_;
}

}  // namespace gridcentric::live_clone
