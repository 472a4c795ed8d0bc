// See tcp_connect.hpp. Runs in a clone whose threads do not go on yet: see sys.hpp.
#include "tcp_connect.hpp"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

namespace gridcentric::live_clone {
namespace {

constexpr uint64_t first_window = 32768;  // has room in any new connection

union Address {
  sockaddr_in v4;
  sockaddr_in6 v6;
};

unsigned write_address(const Endpoint &e, int family, Address *a) {
  memset(a, 0, sizeof *a);
  if (family == AF_INET) {
    a->v4.sin_family = AF_INET;
    a->v4.sin_port = htons(e.port);
    memcpy(&a->v4.sin_addr, e.address + 12, 4);
    return sizeof a->v4;
  }
  a->v6.sin6_family = AF_INET6;
  a->v6.sin6_port = htons(e.port);
  a->v6.sin6_scope_id = e.scope;
  memcpy(&a->v6.sin6_addr, e.address, 16);
  return sizeof a->v6;
}

long named(long call, int fd, int family, const Endpoint &e) {
  Address a;
  const unsigned size = write_address(e, family, &a);
  return sys(call, fd, &a, size);
}

// An IPv6 socket may have an IPv4 address, as the clone's is.
long fresh(int family) {
  const long fd = sys(SYS_socket, family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd >= 0 && family == AF_INET6) set_socket_option((int)fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  return fd;
}

long listen_at(int family, const Endpoint &e) {
  const long fd = fresh(family);
  if (fd < 0) return fd;
  // As the clone's listener there will be, with which what is accepted here shares the port.
  set_socket_option((int)fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (e.port) set_socket_option((int)fd, SOL_SOCKET, SO_REUSEPORT, 1);
  long r = named(SYS_bind, (int)fd, family, e);
  if (r >= 0) r = sys(SYS_listen, fd, 16);
  if (r < 0) sys(SYS_close, fd);
  return r < 0 ? r : fd;
}

bool is_ready(int fd, short events, double deadline) {
  const double left = deadline - now_ms();
  if (left <= 0) return false;
  const timespec limit{(time_t)(left / 1000), (long)(left * 1e6) % 1'000'000'000};
  pollfd p{fd, events, 0};
  return sys(SYS_ppoll, &p, 1, &limit, nullptr, 8) == 1;
}

// The kernel's choice is 127.0.0.1 or ::1 for an address of the loopback's.
void bind_like(int fd, int family, const Endpoint &old) {
  Endpoint e = is_v4_loopback(old) ? at_clone(0) : old;
  e.port = 0;
  const uint8_t usual[4] = {127, 0, 0, 1};
  if (is_v6_loopback(old) || (is_v4_loopback(old) && memcmp(old.address + 12, usual, 4) == 0)) return;
  named(SYS_bind, fd, family, e);
}

// How its owner reads.
constexpr SocketOption reading_options[] = {
    {0, SOL_SOCKET, SO_RCVLOWAT, sizeof(int)},
    {0, SOL_SOCKET, SO_PEEK_OFF, sizeof(int)},
    {0, IPPROTO_TCP, TCP_INQ, sizeof(int)},
};

}  // namespace

Endpoint at_clone(uint16_t port) {
  Endpoint e{};
  const uint32_t address = htonl(clone_address());
  e.address[10] = e.address[11] = 0xff;
  memcpy(e.address + 12, &address, 4);
  e.port = port;
  return e;
}

Connection names_of(const Descriptor &d) {
  return d.socket.was ? *d.socket.was : Connection{at_clone(0), at_clone(0)};
}

long listen_like(int family, const Endpoint &old) {
  Endpoint nearest = is_v4_loopback(old) ? at_clone(old.port) : old;
  if (!is_v4_loopback(old)) nearest.port = 0;
  const long fd = listen_at(family, nearest);
  return fd >= 0 ? fd : listen_at(family, at_clone(0));
}

long connect_to(int listener, int family, const Endpoint &old, double deadline) {
  Endpoint at;
  const long fd = fresh(family);
  if (fd < 0 || !local_endpoint(listener, &at)) return fd;
  bind_like((int)fd, family, old);
  long r = named(SYS_connect, (int)fd, family, at);
  if (r == -EINPROGRESS)
    r = is_ready((int)fd, POLLOUT, deadline) ? -(long)socket_option((int)fd, SOL_SOCKET, SO_ERROR)
                                             : -ETIMEDOUT;
  return r < 0 ? r : fd;
}

long accept_from(int listener, int client, double deadline) {
  Connection ours, found;
  if (!connection_of(client, &ours)) return -ECONNABORTED;
  while (is_ready(listener, POLLIN, deadline)) {
    const long fd = sys(SYS_accept4, listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd == -EAGAIN || fd == -ECONNABORTED) continue;
    if (fd < 0) return fd;
    if (connection_of((int)fd, &found) && are_ends_of_one(ours, found)) return fd;
    sys(SYS_close, fd);
  }
  return -ETIMEDOUT;
}

bool take_place(long fd, const Descriptor &d) {
  if (fd >= 0) {
    copy_options(d.fd, (int)fd, d);
    for (const SocketOption &o : reading_options) copy_option(d.fd, (int)fd, o);
    sys(SYS_fcntl, fd, F_SETFL, d.flags);
  }
  return place_with_duplicates((int)fd, d);
}

bool refill(const Descriptor &reader, int writer) {
  const int mark = socket_option(reader.fd, SOL_SOCKET, SO_RCVLOWAT);
  const bool much = reader.socket.waiting.size > first_window;
  if (much) set_socket_option(reader.fd, SOL_SOCKET, SO_RCVLOWAT, (int)reader.socket.waiting.size);
  long n = 0;
  for (size_t at = 0; at < reader.socket.waiting.size; at += (size_t)n) {
    n = sys(SYS_sendto, writer, reader.socket.waiting.data + at, reader.socket.waiting.size - at,
            MSG_DONTWAIT | MSG_NOSIGNAL, nullptr, 0);
    if (n <= 0) break;
  }
  if (much) set_socket_option(reader.fd, SOL_SOCKET, SO_RCVLOWAT, mark);
  if (n >= 0) return true;
  return fail_descriptor(n == -EAGAIN ? ENOSPC : (int)-n, reader)
             << reader.socket.waiting.size << " bytes in flight don't fit into the clone's connection (error "
             << -n << ")",
         false;
}

void shut_like(const Descriptor &d) {
  if (d.socket.shut & shut_reading) sys(SYS_shutdown, d.fd, SHUT_RD);
  if (d.socket.shut & shut_writing) sys(SYS_shutdown, d.fd, SHUT_WR);
}

}  // namespace gridcentric::live_clone
