// TCP connections of the program to itself. Each becomes one of the clone's own, on addresses as near to the old ones as can
// be, with the bytes under way. In the master they are copied (MSG_PEEK); for what still is in the sender's queue the receive
// buffer is made wider, so that it comes. What can't be carried over is a dead end, as connections to others are, and is named.
// Runs while threads are parked, or in a clone whose threads do not go on yet: see sys.hpp.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "descriptor.hpp"
#include "tcp_ends.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr int most_looks = 100;      // at what is not there yet, in all; 50 us lie between two
constexpr int connecting_ms = 3000;  // of a clone to itself
constexpr uint64_t most_room = 1 << 30;
constexpr uint64_t first_window = 32768;  // has room in any new connection

// ---- in the master: which they are

struct Known {
  Connection connection;
  int index;    // of the descriptor
  bool paired;  // with another
};

// By number_for(), which is the same for both ends: each is looked for as it is entered.
struct Ends {
  Known *items;
  int *slots;  // indexes of items, -1: free
  size_t count, size;
};

void find_pairs(Ends &ends) {
  auto &all = engine.plan.descriptors;
  for (Descriptor &d : all) {
    Connection c;
    if (d.kind != Kind::tcp_dead || d.same_as >= 0 || !connection_of(d.fd, &c)) continue;
    if (same_endpoint(c.local, c.peer)) {
      Text text = note();
      end_note(tell_connected_to_itself(text, d.fd));
      continue;
    }
    size_t at = number_for(c) & (ends.size - 1);
    for (; ends.slots[at] >= 0 && d.socket.peer < 0; at = (at + 1) & (ends.size - 1)) {
      Known &other = ends.items[ends.slots[at]];
      Descriptor &end = all[(size_t)other.index];
      if (other.paired || !are_ends_of_one(c, other.connection) || !in_one_network(d.fd, end.fd)) continue;
      other.paired = true;
      end.socket.peer = int(&d - all.items);
      d.socket.peer = other.index;
    }
    if (d.socket.peer >= 0) continue;
    ends.items[ends.count] = {c, int(&d - all.items), false};
    ends.slots[at] = (int)ends.count++;
  }
}

void note_unaccepted(const Ends &ends) {
  for (const Descriptor &l : engine.plan.descriptors) {
    Endpoint at;
    if (l.kind != Kind::listener || l.same_as >= 0 || !has_unaccepted(l.fd) || !local_endpoint(l.fd, &at))
      continue;
    for (size_t i = 0; i < ends.count; i++) {
      const Known &k = ends.items[i];
      if (k.paired || !may_be_waiting_at(k.connection, at)) continue;
      Text text = note();
      end_note(tell_unaccepted(text, engine.plan.descriptors[(size_t)k.index].fd, l.fd));
    }
  }
}

// ---- in the master: what is under way

// Nobody reads now, so it comes only if there is room for it: a low-water mark makes room, and a look at the queue tells
// the sender. The push is for what waits to become a full packet.
void let_come(int from, int to, int room) {
  const int at_once = socket_option(from, IPPROTO_TCP, TCP_NODELAY);
  set_socket_option(from, IPPROTO_TCP, TCP_NODELAY, 1);
  if (!at_once) set_socket_option(from, IPPROTO_TCP, TCP_NODELAY, 0);
  const int mark = socket_option(to, SOL_SOCKET, SO_RCVLOWAT);
  char byte;
  set_socket_option(to, SOL_SOCKET, SO_RCVLOWAT, room);
  sys(SYS_recvfrom, to, &byte, 1, MSG_PEEK | MSG_DONTWAIT, nullptr, nullptr);
  set_socket_option(to, SOL_SOCKET, SO_RCVLOWAT, mark);
}

// What has been sent the kernel's own thread may have to bring. Packets need more room than their bytes: each time there is twice
// as much, as far as the kernel allows it.
bool settles(int from, int to, int *looks, uint64_t *waiting) {
  UnderWay u = under_way(from, to);
  bool waited = false;  // and that was not enough, as for an end that there is no room for
  for (uint64_t room = 65536; !u.all_there(); u = under_way(from, to)) {
    if (--*looks < 0) return false;
    if (u.unsent || waited) {
      do room *= 2;
      while (room < u.bytes());
      if (room > most_room) room = most_room;
      let_come(from, to, (int)room);
    }
    const timespec moment{0, 50'000};
    waited = !under_way(from, to).all_there();
    if (waited) sys(SYS_nanosleep, &moment, nullptr);
  }
  *waiting = u.waiting;
  return true;
}

// Urgent data that has been taken out of turn leaves a mark, which hides what comes after it.
bool is_hidden_by_mark(int fd, uint64_t waiting) {
  if (socket_option(fd, SOL_SOCKET, SO_OOBINLINE) > 0) return false;
  int all = 0;
  set_socket_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
  sys(SYS_ioctl, fd, FIONREAD, &all);
  set_socket_option(fd, SOL_SOCKET, SO_OOBINLINE, 0);
  return all > 0 && (uint64_t)all != waiting;
}

bool copy_waiting(Descriptor &d, uint64_t waiting) {
  if (!waiting) return true;
  d.socket.waiting.data = static_cast<char *>(engine.arena.take(waiting));
  if (!d.socket.waiting.data) return fail_arena();
  const long n =
      sys(SYS_recvfrom, d.fd, d.socket.waiting.data, waiting, MSG_PEEK | MSG_DONTWAIT, nullptr, nullptr);
  d.socket.waiting.size = n > 0 ? (size_t)n : 0;
  return true;
}

// A program may have set where its own looks at the queue begin. Ours begin at the front, and would move that.
class LookAtFront {
 public:
  explicit LookAtFront(int fd) : fd_(fd), offset_(socket_option(fd, SOL_SOCKET, SO_PEEK_OFF)) {
    if (offset_ >= 0) set_socket_option(fd_, SOL_SOCKET, SO_PEEK_OFF, -1);
  }
  ~LookAtFront() {
    if (offset_ >= 0) set_socket_option(fd_, SOL_SOCKET, SO_PEEK_OFF, offset_);
  }

 private:
  const int fd_, offset_;
};

// Null: the pair is settled, and what waits in its ends may be copied.
const char *why_not_settled(int a, int b, int *looks, uint64_t in_all, uint64_t *to_a, uint64_t *to_b) {
  bool passes;
  if (const char *why = why_dead(a, b, &passes)) return why;
  if (!settles(a, b, looks, to_b) || !settles(b, a, looks, to_a)) return never_arrives;
  if (is_hidden_by_mark(a, *to_a) || is_hidden_by_mark(b, *to_b)) return urgent_in_flight;
  return in_all + *to_a + *to_b > most_under_way_in_all ? too_much_under_way : nullptr;
}

bool plan_pair(Descriptor &a, Descriptor &b, int *looks, uint64_t *in_all) {
  const LookAtFront look_at_a(a.fd), look_at_b(b.fd);
  uint64_t to_a = 0, to_b = 0;
  if (const char *why = why_not_settled(a.fd, b.fd, looks, *in_all, &to_a, &to_b)) {
    Text text = note();
    end_note(tell_dead_pair(text, a.fd, b.fd, why));
    return true;
  }
  if (!copy_waiting(a, to_a) || !copy_waiting(b, to_b)) return false;
  *in_all += to_a + to_b;
  a.socket.shut = shut_halves(a.fd);
  b.socket.shut = shut_halves(b.fd);
  a.kind = b.kind = Kind::tcp_pair;
  return true;
}

// ---- in a clone

Endpoint at_clone(uint16_t port) {
  Endpoint e{};
  const uint32_t address = htonl(clone_address());
  e.address[10] = e.address[11] = 0xff;
  memcpy(e.address + 12, &address, 4);
  e.port = port;
  return e;
}

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

// Where the end is that was accepted: as a listener, on the clone's address with the same port. An address of another kind
// is the same for master and clone, which can't share a port there.
long listen_like(int family, const Endpoint &old) {
  Endpoint nearest = is_v4_loopback(old) ? at_clone(old.port) : old;
  if (!is_v4_loopback(old)) nearest.port = 0;
  const long fd = listen_at(family, nearest);
  return fd >= 0 ? fd : listen_at(family, at_clone(0));
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

long connect_to(int listener, const Descriptor &d, const Endpoint &old, double deadline) {
  Endpoint at;
  const long fd = fresh(d.socket.family);
  if (fd < 0 || !local_endpoint(listener, &at)) return fd;
  bind_like((int)fd, d.socket.family, old);
  long r = named(SYS_connect, (int)fd, d.socket.family, at);
  if (r == -EINPROGRESS)
    r = is_ready((int)fd, POLLOUT, deadline) ? -(long)socket_option((int)fd, SOL_SOCKET, SO_ERROR)
                                             : -ETIMEDOUT;
  return r < 0 ? r : fd;
}

// Somebody else may connect meanwhile: that is turned away.
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

// How its owner reads.
constexpr SocketOption reading_options[] = {
    {0, SOL_SOCKET, SO_RCVLOWAT, sizeof(int)},
    {0, SOL_SOCKET, SO_PEEK_OFF, sizeof(int)},
    {0, IPPROTO_TCP, TCP_INQ, sizeof(int)},
};

bool take_place(long fd, const Descriptor &d) {
  if (fd >= 0) {
    copy_options(d.fd, (int)fd, d);
    for (const SocketOption &o : reading_options) copy_option(d.fd, (int)fd, o);
    sys(SYS_fcntl, fd, F_SETFL, d.flags);
  }
  return place_with_duplicates((int)fd, d);
}

bool is_of_listener(const Endpoint &local) {
  for (const Descriptor &d : engine.plan.descriptors)
    if (d.kind == Kind::listener && d.socket.port == local.port) return true;
  return false;
}

// What has no room on the other side waits on this one, as it would have.
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

}  // namespace

bool plan_tcp_pairs() {
  auto &all = engine.plan.descriptors;
  size_t connections = 0;
  for (const Descriptor &d : all) connections += d.kind == Kind::tcp_dead && d.same_as < 0;
  if (!connections) return true;
  Ends ends{nullptr, nullptr, 0, 2};
  while (ends.size < 2 * connections) ends.size *= 2;
  ends.items = static_cast<Known *>(engine.arena.take(connections * sizeof(Known)));
  ends.slots = static_cast<int *>(engine.arena.take(ends.size * sizeof(int)));
  if (!ends.items || !ends.slots) return fail_arena();
  memset(ends.slots, 0xff, ends.size * sizeof(int));
  find_pairs(ends);
  note_unaccepted(ends);
  int looks = most_looks;
  uint64_t in_all = 0;
  for (Descriptor &d : all) {
    if (d.kind != Kind::tcp_dead || d.socket.peer < 0 || &all[(size_t)d.socket.peer] < &d) continue;
    if (!plan_pair(d, all[(size_t)d.socket.peer], &looks, &in_all)) return false;
  }
  return true;
}

bool rebuild_tcp_pair(Descriptor &first) {
  Descriptor &second = engine.plan.descriptors[(size_t)first.socket.peer];
  if (&second < &first) return true;  // made with the first end
  Connection old{};
  if (!connection_of(first.fd, &old)) old = {at_clone(0), at_clone(0)};  // another process has ended it
  const bool accepted = is_of_listener(old.local);
  const Descriptor &server = accepted ? first : second, &client = accepted ? second : first;
  const double deadline = now_ms() + connecting_ms;
  const long listener = listen_like(server.socket.family, accepted ? old.local : old.peer);
  if (listener < 0) return place((int)listener, server);
  // One after the other, so that no more descriptors are needed than for other pairs.
  if (!take_place(connect_to((int)listener, client, accepted ? old.peer : old.local, deadline), client))
    return false;
  const long fd = accept_from((int)listener, client.fd, deadline);
  sys(SYS_close, listener);
  return take_place(fd, server);
}

bool complete_tcp_pairs() {
  for (const Descriptor &d : engine.plan.descriptors) {
    if (d.kind != Kind::tcp_pair || d.same_as >= 0) continue;
    const Descriptor &other = engine.plan.descriptors[(size_t)d.socket.peer];
    if (&other < &d) continue;
    if (!refill(d, other.fd) || !refill(other, d.fd)) return false;
    shut_like(d);
    shut_like(other);
  }
  return true;
}

}  // namespace gridcentric::live_clone
