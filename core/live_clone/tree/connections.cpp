// TCP connections between processes of the tree. The root, which alone may look into all of them, finds which two sockets are the
// ends of one, and brings what is under way to where its reader can copy it. In a clone the first of the two processes makes both
// ends anew, and offers the second one to the other (objects.cpp); each fills in what it had to read.
#include "../tcp_connect.hpp"
#include "../tcp_pairs.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone::tree {
namespace {

OpenFile *file_at(int process, int place) { return page().open_files(process) + place; }

struct End {
  int process, place;
  OpenFile &file() const { return *file_at(process, place); }
};

// By the number of the connection: each is looked for as it is entered.
struct Ends {
  End *slots = nullptr;  // process -1: free
  size_t size = 2;

  bool make_room(size_t count) {
    while (size < 2 * count) size *= 2;
    slots = static_cast<End *>(engine.arena.take(size * sizeof(End)));
    for (size_t i = 0; slots && i < size; i++) slots[i].process = -1;
    return slots;
  }
};

template <typename Action>
void each_connection(Action action) {
  for (int i = 0; i < page().count; i++)
    for (int k = 0; k < page().processes[i].open_files; k++)
      if (const OpenFile &f = *file_at(i, k); f.connection && !f.stream) action(End{i, k});
}

bool is_one_socket(const OpenFile &a, const OpenFile &b) {
  return a.device == b.device && a.inode == b.inode;
}

// In the root: a descriptor of an end, closed when it isn't needed any more.
class Held {
 public:
  explicit Held(const End &end) : fd_((int)fetch(end.process, end.file().fd)) {}
  ~Held() {
    if (fd_ >= 0) sys(SYS_close, fd_);
  }
  int fd() const { return fd_; }

 private:
  const int fd_;
};

void note_dead(const End &a, const End &b, const char *why) {
  const Process &one = page().processes[a.process], &other = page().processes[b.process];
  end_note(note() << "process " << one.pid << " (" << one.name << "): descriptor " << a.file().fd
                  << ": TCP connection to descriptor " << b.file().fd << " of process " << other.pid << " ("
                  << other.name << ") is a dead end in clones: " << why);
}

void settle_pair(const End &a, const End &b, Settling *settling) {
  const Held held_a(a), held_b(b);
  if (held_a.fd() < 0 || held_b.fd() < 0) return note_dead(a, b, "pidfd_getfd(2) is refused");
  Connection of_a, of_b;
  if (!connection_of(held_a.fd(), &of_a) || !connection_of(held_b.fd(), &of_b) ||
      !are_ends_of_one(of_a, of_b) || !in_one_network(held_a.fd(), held_b.fd()))
    return;
  uint64_t to_a = 0, to_b = 0;
  if (const char *why = settle(held_a.fd(), held_b.fd(), settling, &to_a, &to_b)) return note_dead(a, b, why);
  a.file().across = {true, b.process, b.place, shut_halves(held_a.fd()), to_a};
  b.file().across = {true, a.process, a.place, shut_halves(held_b.fd()), to_b};
}

}  // namespace

void settle_connections() {
  size_t count = 0;
  each_connection([&](const End &) { count++; });
  Ends ends;
  if (!count || !ends.make_room(count)) return;
  Settling settling;
  each_connection([&](const End &end) {
    size_t at = end.file().connection & (ends.size - 1);
    for (; ends.slots[at].process >= 0; at = (at + 1) & (ends.size - 1)) {
      const End &other = ends.slots[at];
      if (is_one_socket(other.file(), end.file())) return;  // a process before this one has it
      // Of one process both are its own affair.
      if (other.file().connection == end.file().connection && !other.file().across.known &&
          other.process != end.process)
        settle_pair(other, end, &settling);
    }
    ends.slots[at] = end;
  });
}

bool plan_across(Descriptor &d, int place) {
  if (d.kind != Kind::tcp_dead) return true;
  const Across &across = file_at(engine.prepared.process, place)->across;
  if (!across.known) return true;
  d.kind = Kind::tcp_across;
  d.socket.peer_process = across.process;
  d.socket.peer = across.other;
  d.socket.shut = across.shut;
  d.socket.other_end = -1;
  return remember_names(d) && copy_waiting(d, across.waiting);
}

void count_connections() {
  if (!whole()) return;
  for (const Descriptor &d : engine.plan.descriptors)
    if (d.same_as < 0 && (d.kind == Kind::tcp_pair || d.kind == Kind::tcp_across)) {
      page().connectors++;
      return;
    }
}

bool is_listening(uint16_t port) {
  for (int i = 0; i < page().count; i++)
    for (int k = 0; k < page().processes[i].open_files; k++)
      if (const OpenFile &f = *file_at(i, k); f.kind == (int)Kind::listener && f.port == port) return true;
  return false;
}

void tell_ports() {
  Family &own = family();
  own.port_count = 0;
  own.address = clone_address();
  int known = 0;
  const auto add = [&](uint16_t number, bool tcp) {
    for (int i = 0; i < known; i++)
      if (own.ports[i].number == number && own.ports[i].tcp == tcp) return;
    if (known < Family::most_ports) own.ports[known++] = {number, tcp};
  };
  for (int i = 0; i < page().count; i++)
    for (int k = 0; k < page().processes[i].open_files; k++) {
      const OpenFile &f = *file_at(i, k);
      const bool tcp = f.kind == (int)Kind::listener;
      if (f.port && (tcp || (f.kind == (int)Kind::udp && !f.connection))) add(f.port, tcp);
    }
  own.port_count = known;
}

bool connections_are_made() {
  if (!whole()) return true;
  std::atomic<int> &connected = page().clone(own_clone()).connected;
  bool connects = false, listens = false;
  for (const Descriptor &d : engine.plan.descriptors) {
    connects = connects || d.kind == Kind::tcp_pair || d.kind == Kind::tcp_across;
    listens = listens || d.kind == Kind::listener;
  }
  if (connects) {
    connected++;
    futex_wake(connected);
  }
  const double deadline = now_ms() + offer_timeout_ms;
  for (int made; listens && (made = connected) < page().connectors;)
    if (!wait_for_word(connected, made, deadline))
      return fail(ETIMEDOUT) << "the connections between the processes of the clone were not made in time",
             false;
  return true;
}

namespace {

// Of the end `mine`, which is the one of a listener if a process listens there.
long make_ends(const Descriptor &d, int *mine, int *theirs) {
  const Connection old = names_of(d);
  const int other_family = file_at(d.socket.peer_process, d.socket.peer)->family;
  const bool accepted = is_listening(old.local.port);
  const double deadline = now_ms() + connecting_ms;
  const long listener =
      listen_like(accepted ? d.socket.family : other_family, accepted ? old.local : old.peer);
  if (listener < 0) return listener;
  const long client = connect_to((int)listener, accepted ? other_family : d.socket.family,
                                 accepted ? old.peer : old.local, deadline);
  const long server = client < 0 ? client : accept_from((int)listener, (int)client, deadline);
  sys(SYS_close, listener);
  if (server < 0 && client >= 0) sys(SYS_close, client);
  *mine = (int)(accepted ? server : client);
  *theirs = (int)(accepted ? client : server);
  return server < 0 ? server : 0;
}

}  // namespace

bool rebuild_tcp_across(Descriptor &d) {
  const int other = d.socket.peer_process;
  int mine = -1, theirs = -1;
  if (other < engine.prepared.process) {
    mine = (int)take(other, d.device, d.inode, false, 0);
    theirs = mine < 0 ? mine : (int)take(other, d.device, d.inode, false, 1);
    if (theirs < 0) return place(theirs, d);
  } else {
    if (const long made = make_ends(d, &mine, &theirs); made < 0) return place((int)made, d);
    const OpenFile &end = *file_at(other, d.socket.peer);
    const long one = sys(SYS_fcntl, theirs, F_DUPFD_CLOEXEC, 0),
               again = sys(SYS_fcntl, mine, F_DUPFD_CLOEXEC, 0);
    if (one < 0 || again < 0) return place((int)(one < 0 ? one : again), d);
    if (!offer(end.device, end.inode, false, (int)one, (int)again)) return false;
  }
  d.socket.other_end = theirs;
  return take_place(mine, d);
}

bool complete_tcp_across() {
  bool ok = true;
  for (Descriptor &d : engine.plan.descriptors) {
    if (d.kind != Kind::tcp_across || d.same_as >= 0) continue;
    ok = ok && refill(d, d.socket.other_end);
    sys(SYS_close, d.socket.other_end);
  }
  return ok;
}

void shut_connections() {
  for (const Descriptor &d : engine.plan.descriptors)
    if (d.kind == Kind::tcp_across && d.same_as < 0) shut_like(d);
}

}  // namespace gridcentric::live_clone::tree
