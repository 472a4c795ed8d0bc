// The address that a socket has, or is connected to. For plan and preflight. Only looks.
#pragma once

#include <linux/netlink.h>
#include <netinet/in.h>

#include "sys.hpp"

namespace gridcentric::live_clone {

union SocketName {
  sockaddr generic;
  sockaddr_in v4;
  sockaddr_in6 v6;
  sockaddr_nl netlink;
  char space[128];

  bool is_v6() const { return generic.sa_family == AF_INET6; }
};

/// False when it has none.
inline bool own_name(int fd, SocketName *name) {
  unsigned size = sizeof *name;
  return sys(SYS_getsockname, fd, name, &size) == 0;
}

/// False when it is not connected.
inline bool peer_name(int fd, SocketName *name) {
  unsigned size = sizeof *name;
  return sys(SYS_getpeername, fd, name, &size) == 0;
}

}  // namespace gridcentric::live_clone
