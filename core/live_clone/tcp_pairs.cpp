// TCP connections of the program to itself. Each becomes one of the clone's own, on addresses as near to the old ones as can
// be, with the bytes under way. In the master they are copied (MSG_PEEK); for what still is in the sender's queue the receive
// buffer is made wider, so that it comes. What can't be carried over is a dead end, as connections to others are, and is named.
// Runs while threads are parked, or in a clone whose threads do not go on yet: see sys.hpp.
#include "tcp_pairs.hpp"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

#include "tcp_connect.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr uint64_t most_room = 1 << 30;

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

bool plan_pair(Descriptor &a, Descriptor &b, Settling *settling) {
  uint64_t to_a = 0, to_b = 0;
  if (const char *why = settle(a.fd, b.fd, settling, &to_a, &to_b)) {
    Text text = note();
    end_note(tell_dead_pair(text, a.fd, b.fd, why));
    return true;
  }
  a.socket.shut = shut_halves(a.fd);
  b.socket.shut = shut_halves(b.fd);
  a.kind = b.kind = Kind::tcp_pair;
  return remember_names(a) && remember_names(b) && copy_waiting(a, to_a) && copy_waiting(b, to_b);
}

// ---- in a clone

bool is_of_listener(const Endpoint &local) {
  for (const Descriptor &d : engine.plan.descriptors)
    if (d.kind == Kind::listener && d.socket.port == local.port) return true;
  return tree::whole() && tree::is_listening(local.port);
}

}  // namespace

const char *settle(int a, int b, Settling *settling, uint64_t *to_a, uint64_t *to_b) {
  const LookAtFront look_at_a(a), look_at_b(b);
  bool passes;
  if (const char *why = why_dead(a, b, &passes)) return why;
  if (!settles(a, b, &settling->looks, to_b) || !settles(b, a, &settling->looks, to_a)) return never_arrives;
  if (is_hidden_by_mark(a, *to_a) || is_hidden_by_mark(b, *to_b)) return urgent_in_flight;
  const uint64_t both = *to_a + *to_b;
  if (settling->in_all + both > most_under_way_in_all) return too_much_under_way;
  settling->in_all += both;
  return nullptr;
}

bool remember_names(Descriptor &d) {
  auto *was = static_cast<Connection *>(engine.arena.take(sizeof(Connection)));
  if (!was) return fail_arena();
  d.socket.was = connection_of(d.fd, was) ? was : nullptr;
  return true;
}

bool copy_waiting(Descriptor &d, uint64_t waiting) {
  if (!waiting) return true;
  const LookAtFront look(d.fd);
  d.socket.waiting.data = static_cast<char *>(engine.arena.take(waiting));
  if (!d.socket.waiting.data) return fail_arena();
  const long n =
      sys(SYS_recvfrom, d.fd, d.socket.waiting.data, waiting, MSG_PEEK | MSG_DONTWAIT, nullptr, nullptr);
  d.socket.waiting.size = n > 0 ? (size_t)n : 0;
  return true;
}

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
  Settling settling;
  for (Descriptor &d : all) {
    if (d.kind != Kind::tcp_dead || d.socket.peer < 0 || &all[(size_t)d.socket.peer] < &d) continue;
    if (!plan_pair(d, all[(size_t)d.socket.peer], &settling)) return false;
  }
  return true;
}

bool freeze_connection(Descriptor &d) {
  return take_place(sys(SYS_socket, d.socket.family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP), d);
}

bool rebuild_tcp_pair(Descriptor &first) {
  Descriptor &second = engine.plan.descriptors[(size_t)first.socket.peer];
  if (&second < &first) return true;  // made with the first end
  const Connection old = names_of(first);
  const bool accepted = is_of_listener(old.local);
  const Descriptor &server = accepted ? first : second, &client = accepted ? second : first;
  const double deadline = now_ms() + connecting_ms;
  const long listener = listen_like(server.socket.family, accepted ? old.local : old.peer);
  if (listener < 0) return place((int)listener, server);
  // One after the other, so that no more descriptors are needed than for other pairs.
  const Endpoint &old_client = accepted ? old.peer : old.local;
  if (!take_place(connect_to((int)listener, client.socket.family, old_client, deadline), client))
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
