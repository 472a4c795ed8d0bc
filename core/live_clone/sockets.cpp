// Internet and netlink sockets. A clone has its own address: its listeners and bound UDP sockets are
// bound to that address, same ports; its TCP connections belong to the master and are dead ends in the clone
// (EOF, EPIPE), but for those to itself (tcp_pairs.cpp). Runs while threads are parked, or in a clone with one thread: see sys.hpp.
#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

#include "descriptor.hpp"
#include "groups.hpp"
#include "socket_name.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {
namespace {

// What a socket made anew takes over from the one it replaces. An accepted connection inherits these from its
// listener.
constexpr SocketOption options[] = {
    {0, SOL_SOCKET, SO_KEEPALIVE, sizeof(int)},
    {0, SOL_SOCKET, SO_BROADCAST, sizeof(int)},
    {0, SOL_SOCKET, SO_OOBINLINE, sizeof(int)},
    {0, SOL_SOCKET, SO_LINGER, sizeof(linger)},
    {0, SOL_SOCKET, SO_RCVTIMEO, sizeof(timeval)},
    {0, SOL_SOCKET, SO_SNDTIMEO, sizeof(timeval)},
    {0, IPPROTO_TCP, TCP_NODELAY, sizeof(int)},
    {0, IPPROTO_TCP, TCP_DEFER_ACCEPT, sizeof(int)},
    {0, IPPROTO_TCP, TCP_KEEPIDLE, sizeof(int)},
    {0, IPPROTO_TCP, TCP_KEEPINTVL, sizeof(int)},
    {0, IPPROTO_TCP, TCP_KEEPCNT, sizeof(int)},
    {0, IPPROTO_TCP, TCP_USER_TIMEOUT, sizeof(int)},
    {AF_INET, IPPROTO_IP, IP_TOS, sizeof(int)},
    {AF_INET, IPPROTO_IP, IP_PKTINFO, sizeof(int)},
    {AF_INET6, IPPROTO_IPV6, IPV6_RECVPKTINFO, sizeof(int)},
};

constexpr SocketOption multicast_options[] = {
    {AF_INET, IPPROTO_IP, IP_MULTICAST_TTL, sizeof(int)},
    {AF_INET, IPPROTO_IP, IP_MULTICAST_LOOP, sizeof(int)},
    {AF_INET, IPPROTO_IP, IP_MULTICAST_ALL, sizeof(int)},
    {AF_INET, IPPROTO_IP, IP_MULTICAST_IF, sizeof(in_addr)},
    {AF_INET6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, sizeof(int)},
    {AF_INET6, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, sizeof(int)},
    {AF_INET6, IPPROTO_IPV6, IPV6_MULTICAST_IF, sizeof(int)},
};

constexpr SocketOption buffer_sizes[] = {{0, SOL_SOCKET, SO_SNDBUF, 1},
                                         {0, SOL_SOCKET, SO_RCVBUF, 2}};  // size: the lock bit

// A socket like d; the old one is still there, so its options can be read from it.
long fresh_socket(const Descriptor &d) {
  const long fd =
      sys(SYS_socket, d.socket.family,
          d.socket.type | (d.flags & O_NONBLOCK ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC, d.socket.protocol);
  if (fd >= 0) copy_options(d.fd, (int)fd, d);
  return fd;
}

uint16_t bound_port(int fd) {  // network order, 0: not bound
  SocketName a{};
  if (!own_name(fd, &a)) return 0;
  return a.is_v6() ? a.v6.sin6_port : a.v4.sin_port;
}

// The clone's address and a port in network order. IPv6 has it as ::ffff:a.b.c.d. Returns the size.
unsigned name_in_clone(int family, uint16_t port, SocketName *a) {
  *a = {};
  if (family != AF_INET6) {
    a->v4.sin_family = AF_INET;
    a->v4.sin_port = port;
    a->v4.sin_addr.s_addr = htonl(clone_address());
    return sizeof a->v4;
  }
  const uint32_t address = htonl(clone_address());
  a->v6.sin6_family = AF_INET6;
  a->v6.sin6_port = port;
  a->v6.sin6_addr.s6_addr[10] = a->v6.sin6_addr.s6_addr[11] = 0xff;
  memcpy(&a->v6.sin6_addr.s6_addr[12], &address, 4);
  return sizeof a->v6;
}

// Binds to the clone's address: IPv6 sockets may not be for IPv6 only.
bool bind_to_clone(int fd, const Descriptor &d, uint16_t port) {
  set_socket_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  set_socket_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (d.socket.family == AF_INET6) set_socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  SocketName a{};
  const unsigned size = name_in_clone(d.socket.family, port, &a);
  const long r = sys(SYS_bind, fd, &a, size);
  if (r == 0) return true;
  Text text = fail_descriptor((int)-r, d);
  (text << "bind to ").address(clone_address()) << ":" << ntohs(port) << " failed (error " << -r << ")";
  return false;
}

// Once for all sockets; few computers have more than a dozen.
bool find_groups() {
  Engine &e = engine;
  if (e.plan.groups_known) return true;
  e.plan.groups_known = true;
  for (const char *file : group_files) {
    const bool v6 = file == group_files[1];
    char path[64];
    Text(path, sizeof path) << "/proc/self/" << file;
    const long n = read_file(path, e.scratch, e.scratch_size);
    if (n == -ENOBUFS) return fail_arena();
    Group group{};
    for (const char *text = n > 0 ? e.scratch : ""; next_group(&text, v6, &group);) {
      Group *known = e.plan.groups.add(e.arena);
      if (!known) return fail_arena();
      *known = group;
    }
  }
  return true;
}

bool join_groups(int fd, const Descriptor &d) {
  set_socket_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  set_socket_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  SocketName a{};
  unsigned size = sizeof a;
  long r = sys(SYS_getsockname, d.fd, &a, &size);
  if (r == 0) r = sys(SYS_bind, fd, &a, size);
  for (size_t i = 0; r >= 0 && i < engine.plan.groups.count; i++)
    if (is_member(d.fd, engine.plan.groups[i])) r = join_as(d.fd, fd, engine.plan.groups[i]);
  if (r < 0)
    fail_descriptor((int)-r, d) << "it can't join its multicast groups in the clone (error " << -r << ")";
  return r >= 0;
}

}  // namespace

int socket_option(int fd, int level, int option) {
  int value = 0;
  unsigned size = sizeof value;
  const long r = sys(SYS_getsockopt, fd, level, option, &value, &size);
  return r < 0 ? (int)r : value;
}

void set_socket_option(int fd, int level, int name, int value) {
  sys(SYS_setsockopt, fd, level, name, &value, sizeof value);
}

void copy_option(int from, int to, const SocketOption &o) {
  alignas(8) char value[32];
  unsigned size = o.size;
  if (sys(SYS_getsockopt, from, o.level, o.name, value, &size) == 0)
    sys(SYS_setsockopt, to, o.level, o.name, value, size);
}

void copy_options(int from, int to, const Descriptor &d) {
  const bool tcp = d.socket.family != AF_UNIX && d.socket.type == SOCK_STREAM;
  for (const SocketOption &o : options)
    if ((!o.family || o.family == d.socket.family) && (o.level != IPPROTO_TCP || tcp))
      copy_option(from, to, o);
  if (d.kind == Kind::udp)
    for (const SocketOption &o : multicast_options)
      if (o.family == d.socket.family) copy_option(from, to, o);
  const int chosen = socket_option(from, SOL_SOCKET, 72 /* SO_BUF_LOCK */);
  for (const SocketOption &o : buffer_sizes)
    if (chosen > 0 && (chosen & (int)o.size))
      set_socket_option(to, o.level, o.name, socket_option(from, o.level, o.name) / 2);
}

uint32_t clone_address() {
  if (tree::is_member()) return tree::page().clone(tree::own_clone()).address;
  return engine.order->addresses[(size_t)engine.result.index - 1];
}

bool classify_socket(Descriptor &d) {
  d.socket.peer = -1;
  d.socket.family = socket_option(d.fd, SOL_SOCKET, SO_DOMAIN);
  d.socket.type = socket_option(d.fd, SOL_SOCKET, SO_TYPE);
  d.socket.protocol = socket_option(d.fd, SOL_SOCKET, SO_PROTOCOL);
  const bool listening = socket_option(d.fd, SOL_SOCKET, SO_ACCEPTCONN) > 0;
  if (const char *why = refused_socket(d.socket.family, d.socket.type, d.socket.protocol)) {
    Text text = fail(EOPNOTSUPP);
    return tell_refused(text, d.fd, why, Path(" (family ", d.socket.family, ")")), false;
  }
  if (d.socket.family == AF_NETLINK) return d.kind = Kind::netlink, true;
  if (d.socket.family == AF_UNIX) return d.kind = listening ? Kind::unix_listener : Kind::unix_dead, true;
  if (d.socket.type == SOCK_DGRAM) return d.kind = Kind::udp, true;
  if (listening) return d.kind = Kind::listener, true;
  tcp_info info{};
  unsigned size = sizeof info;
  sys(SYS_getsockopt, d.fd, IPPROTO_TCP, TCP_INFO, &info, &size);
  pollfd p{d.fd, POLLRDHUP, 0};
  timespec none{};
  sys(SYS_ppoll, &p, 1, &none, nullptr, 8);
  // A connection that has been reset is in state CLOSE too, but has a hangup to tell.
  d.kind = info.tcpi_state == 7 /* TCP_CLOSE */ && !(p.revents & POLLRDHUP) ? Kind::tcp_idle : Kind::tcp_dead;
  return true;
}

// SO_REUSEPORT may still be set on a socket that is bound; it lets the clone bind its own address beside it.
bool plan_listener(Descriptor &d) {
  tcp_info info{};
  unsigned size = sizeof info;
  sys(SYS_getsockopt, d.fd, IPPROTO_TCP, TCP_INFO, &info, &size);
  d.socket.backlog =
      info.tcpi_sacked ? (int)info.tcpi_sacked : 128;  // for a listener the kernel reports its backlog there
  set_socket_option(d.fd, SOL_SOCKET, SO_REUSEPORT, 1);
  d.socket.port = ntohs(bound_port(d.fd));
  return true;
}

bool plan_tcp_idle(Descriptor &d) {
  d.socket.port = ntohs(bound_port(d.fd));
  return true;
}

bool plan_udp(Descriptor &d) {
  set_socket_option(d.fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (!find_groups()) return false;
  const bool joins_too = receives_a_group_alone(d.fd);
  SocketName peer{};
  if (peer_name(d.fd, &peer)) {
    d.socket.to = static_cast<sockaddr_in6 *>(engine.arena.take(sizeof(sockaddr_in6)));
    if (!d.socket.to) return fail_arena();
    *d.socket.to = peer.v6;
    d.socket.to_own = tree::port_of_own(d.fd);
  } else if (!joins_too) {
    d.socket.port = ntohs(bound_port(d.fd));
  }
  if (!tree::copy_datagrams(d)) return false;
  for (const Group &group : engine.plan.groups) {
    if (joins_too || !is_member(d.fd, group)) continue;
    Text text = note();
    end_note(tell_lost_group(text, d.fd, group));
  }
  return true;
}

bool freeze_socket(Descriptor &d) { return place_with_duplicates((int)fresh_socket(d), d); }

// The clones look at the memberships of one in a group, and at the name of one that is connected to a process of its tree.
bool freeze_udp(Descriptor &d) {
  if (receives_a_group_alone(d.fd) || d.socket.to_own) return true;
  return freeze_socket(d);
}

bool rebuild_listener(Descriptor &d) {
  const long fd = fresh_socket(d);
  if (fd < 0) return place((int)fd, d);
  if (!bind_to_clone((int)fd, d, htons((uint16_t)d.socket.port))) return false;
  const long r = sys(SYS_listen, fd, d.socket.backlog);
  if (r < 0) return fail_descriptor((int)-r, d) << "listen failed", false;
  return place_with_duplicates((int)fd, d);
}

// One that is connected to a process of its tree is so to that one's copy.
bool connect_to_own(int fd, const Descriptor &d) {
  if (!bind_to_clone(fd, d, bound_port(d.fd))) return false;
  SocketName peer{};
  const unsigned size = name_in_clone(d.socket.family, htons(d.socket.to_own), &peer);
  const long r = sys(SYS_connect, fd, &peer, size);
  if (r < 0) fail_descriptor((int)-r, d) << "connect failed (error " << -r << ")";
  return r >= 0;
}

// A connected one keeps its peer and gets any port: bound to the clone's loopback address it could not reach
// others. One that is bound to a group's address has nothing of the master's: it joins the group itself.
bool rebuild_udp(Descriptor &d) {
  const long fd = fresh_socket(d);
  if (fd < 0) return place((int)fd, d);
  if (d.socket.to_own) {
    if (!connect_to_own((int)fd, d)) return false;
  } else if (d.socket.to)
    sys(SYS_connect, fd, d.socket.to,
        d.socket.family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
  else if (receives_a_group_alone(d.fd)) {
    if (!join_groups((int)fd, d)) return false;
  } else if (d.socket.port && !bind_to_clone((int)fd, d, htons((uint16_t)d.socket.port)))
    return false;
  return place_with_duplicates((int)fd, d);
}

bool rebuild_tcp_idle(Descriptor &d) {
  const long fd = fresh_socket(d);
  if (fd < 0) return place((int)fd, d);
  if (d.socket.port && !bind_to_clone((int)fd, d, htons(d.socket.port))) return false;
  return place_with_duplicates((int)fd, d);
}

bool rebuild_tcp_dead(Descriptor &d) {
  const long fd =
      sys(SYS_socket, d.socket.family,
          d.socket.type | (d.flags & O_NONBLOCK ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC, d.socket.protocol);
  if (fd >= 0) sys(SYS_shutdown, fd, SHUT_RDWR);  // reads EOF, writes EPIPE, polls IN | RDHUP | HUP
  return place_with_duplicates((int)fd, d);
}

bool rebuild_netlink(Descriptor &d) {
  const long fd =
      sys(SYS_socket, d.socket.family,
          d.socket.type | (d.flags & O_NONBLOCK ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC, d.socket.protocol);
  SocketName a{};
  if (fd >= 0 && own_name(d.fd, &a)) {
    a.netlink.nl_pid = 0;  // a port id of its own
    sys(SYS_bind, fd, &a, sizeof a.netlink);
  }
  return place_with_duplicates((int)fd, d);
}

}  // namespace gridcentric::live_clone
