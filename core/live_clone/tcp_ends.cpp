// See tcp_ends.hpp. Runs while threads are parked too: see sys.hpp.
#include "tcp_ends.hpp"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "descriptor.hpp"
#include "socket_name.hpp"

namespace gridcentric::live_clone {
namespace {

// Options that older headers do not have.
constexpr int buffer_locks = 72 /* SO_BUF_LOCK */, receive_buffer_locked = 2;
constexpr int network_cookie = 71 /* SO_NETNS_COOKIE */;

enum State : int { established = 1, fin_wait1 = 4, fin_wait2, close_wait = 8, last_ack, closing = 11 };

bool has_sent_end(int state) { return state == fin_wait1 || state == fin_wait2; }
bool has_got_end(int state) { return state == close_wait || state == last_ack || state == closing; }

tcp_info info_of(int fd) {
  tcp_info info{};
  unsigned size = sizeof info;
  sys(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, &info, &size);
  return info;
}

uint64_t queue(int fd, unsigned long which) {
  int bytes = 0;
  sys(SYS_ioctl, fd, which, &bytes);
  return bytes > 0 ? (uint64_t)bytes : 0;
}

short polled(int fd, short events) {
  pollfd p{fd, events, 0};
  timespec none{};
  sys(SYS_ppoll, &p, 1, &none, nullptr, 8);
  return p.revents;
}

bool endpoint(bool (*name_of)(int, SocketName *), int fd, Endpoint *e) {
  SocketName a{};
  if (!name_of(fd, &a)) return false;
  *e = endpoint_of(a);
  return true;
}

bool is_mapped_v4(const Endpoint &e) {
  constexpr uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return memcmp(e.address, mapped, 12) == 0;
}

// What a new socket cannot be given, or what cannot be read.
const char *why_not_like(int fd) {
  char layer[16] = {};
  unsigned size = sizeof layer;
  if (sys(SYS_getsockopt, fd, IPPROTO_TCP, TCP_ULP, layer, &size) == 0 && size > 0 && layer[0])
    return "a kernel protocol such as TLS is on top (TCP_ULP)";
  if (socket_option(fd, SOL_SOCKET, SO_ZEROCOPY) > 0) return "it sends without copying (SO_ZEROCOPY)";
  if (socket_option(fd, IPPROTO_TCP, TCP_REPAIR) > 0) return "it is in repair mode (TCP_REPAIR)";
  int at_mark = 0;
  sys(SYS_ioctl, fd, SIOCATMARK, &at_mark);
  return at_mark || (polled(fd, POLLPRI) & POLLPRI) ? urgent_in_flight : nullptr;
}

// How many bytes a receive buffer has room for at most: half of it is for the kernel's own use.
uint64_t widest_window() {
  char text[128];
  unsigned long sizes[3] = {};
  if (read_file("/proc/sys/net/ipv4/tcp_rmem", text, sizeof text) <= 0) return 0;
  const char *p = text;
  for (unsigned long &size : sizes) {
    while (*p == ' ' || *p == '\t') p++;
    p = parse_dec(p, &size);
  }
  return sizes[2] / 2;
}

bool has_room(int reader, uint64_t bytes) {
  const int locks = socket_option(reader, SOL_SOCKET, buffer_locks);
  return !(locks > 0 && (locks & receive_buffer_locked)) && bytes <= widest_window();
}

const char *why_not_arriving(int from, int to, bool *passes) {
  const UnderWay u = under_way(from, to);
  if (u.bytes() > most_under_way) return *passes = true, too_much_under_way;
  if (u.unsent && !has_room(to, u.bytes()))
    return *passes = true, "its receive buffer has no room for the bytes in flight";
  return nullptr;
}

}  // namespace

const char *const too_much_under_way =
    "more than 8 MiB in one direction, or 64 MiB in all such connections, is in flight";
const char *const never_arrives = "what was sent does not arrive";
const char *const urgent_in_flight = "urgent data is in flight";

Endpoint endpoint_of(const SocketName &name) {
  Endpoint e{};
  if (name.is_v6()) {
    memcpy(e.address, &name.v6.sin6_addr, sizeof e.address);
    e.scope = name.v6.sin6_scope_id;
    e.port = ntohs(name.v6.sin6_port);
  } else {
    e.address[10] = e.address[11] = 0xff;
    memcpy(e.address + 12, &name.v4.sin_addr, 4);
    e.port = ntohs(name.v4.sin_port);
  }
  return e;
}

bool same_endpoint(const Endpoint &a, const Endpoint &b) {
  return a.port == b.port && a.scope == b.scope && memcmp(a.address, b.address, sizeof a.address) == 0;
}

bool are_ends_of_one(const Connection &a, const Connection &b) {
  return same_endpoint(a.local, b.peer) && same_endpoint(a.peer, b.local);
}

uint64_t number_for(const Connection &c) {
  const auto number = [](const Endpoint &e) {
    uint64_t halves[2];
    memcpy(halves, e.address, sizeof halves);
    return ((halves[0] * 31 + halves[1]) * 31 + e.port) * 0x9e3779b97f4a7c15;
  };
  const uint64_t sum = number(c.local) + number(c.peer);
  return sum ^ (sum >> 32);
}

bool local_endpoint(int fd, Endpoint *local) { return endpoint(own_name, fd, local); }

bool connection_of(int fd, Connection *c) {
  return endpoint(peer_name, fd, &c->peer) && endpoint(own_name, fd, &c->local);
}

// Before Linux 5.14 it is not told, and programs with sockets of several networks are rare.
bool in_one_network(int fd_a, int fd_b) {
  const auto cookie = [](int fd) {
    uint64_t value = 0;
    unsigned size = sizeof value;
    sys(SYS_getsockopt, fd, SOL_SOCKET, network_cookie, &value, &size);
    return value;
  };
  return cookie(fd_a) == cookie(fd_b);
}

bool is_v4_loopback(const Endpoint &e) { return is_mapped_v4(e) && e.address[12] == 127; }

bool is_v6_loopback(const Endpoint &e) {
  constexpr uint8_t one[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return memcmp(e.address, one, 16) == 0;
}

bool is_on_loopback(const Endpoint &e) {
  uint8_t any[16] = {};
  const bool all = memcmp(e.address, any, 16) == 0;
  any[10] = any[11] = 0xff;
  return all || memcmp(e.address, any, 16) == 0 || is_v4_loopback(e) || is_v6_loopback(e);
}

// What has been sent stays in the sender's queue until the other side says that it has come, which may take it 40 ms: until then
// both sides' counts tell. The receiver's queue comes last: what is all there by then is in it.
UnderWay under_way(int from, int to) {
  UnderWay u{};
  u.unsent = queue(from, SIOCOUTQNSD);
  const uint64_t unconfirmed = queue(from, SIOCOUTQ);
  const tcp_info sender = info_of(from), receiver = info_of(to);
  const bool end_sent = has_sent_end(sender.tcpi_state), end_got = has_got_end(receiver.tcpi_state);
  if (end_sent && u.unsent) u.unsent--;  // the end counts as a byte
  const uint64_t sent = sender.tcpi_bytes_sent - sender.tcpi_bytes_retrans,
                 got = receiver.tcpi_bytes_received - end_got;
  u.arriving = (end_sent && !end_got) || (!u.unsent && unconfirmed && sent != got);
  u.waiting = queue(to, FIONREAD);
  return u;
}

int shut_halves(int fd) {
  const int state = info_of(fd).tcpi_state;
  const bool reading = !has_got_end(state) && (polled(fd, POLLRDHUP) & (POLLRDHUP | POLLHUP));
  return (reading ? shut_reading : 0) | (has_sent_end(state) ? shut_writing : 0);
}

const char *why_dead(int fd_a, int fd_b, bool *passes) {
  *passes = false;
  for (const int fd : {fd_a, fd_b})
    if (const char *why = why_not_like(fd)) return why;
  const int a = info_of(fd_a).tcpi_state, b = info_of(fd_b).tcpi_state;
  const auto goes_on = [](int one, int other) {
    return one == established ? other == established || has_sent_end(other)
                              : has_sent_end(one) && other == close_wait;
  };
  if (!goes_on(a, b) && !goes_on(b, a)) return *passes = true, "both sides are closing it";
  const char *why = why_not_arriving(fd_a, fd_b, passes);
  return why ? why : why_not_arriving(fd_b, fd_a, passes);
}

bool has_unaccepted(int listener) { return info_of(listener).tcpi_unacked > 0; }

// Only a connection that begins on this computer may end here as well.
bool may_be_waiting_at(const Connection &c, const Endpoint &listener) {
  Endpoint here = c.local, there = c.peer, at = listener;
  here.port = there.port = at.port = 0;
  if (c.peer.port != listener.port) return false;
  if (!same_endpoint(here, there) && !is_v4_loopback(there) && !is_v6_loopback(there)) return false;
  Endpoint any{};
  if (same_endpoint(at, any)) return true;
  any.address[10] = any.address[11] = 0xff;
  return same_endpoint(at, any) || same_endpoint(at, there);
}

Text &tell_dead_pair(Text &text, int fd, int other, const char *why) {
  return text << "descriptor " << fd << ": TCP connection to descriptor " << other
              << " is a dead end in clones: " << why;
}

Text &tell_connected_to_itself(Text &text, int fd) {
  return text << "descriptor " << fd << ": TCP socket connected to itself is a dead end in clones";
}

Text &tell_unaccepted(Text &text, int fd, int listener) {
  return text << "descriptor " << fd << ": TCP connection that descriptor " << listener
              << " has not accepted yet is a dead end in clones";
}

}  // namespace gridcentric::live_clone
