// Unix sockets. A pair with both ends in the process becomes a pair of the clone's own, bytes and messages in
// flight included; a connection to somebody else stays the master's; a path can belong to one socket only, so
// a listener of the clone gets an address the kernel chooses. Runs while threads are parked, or in a clone
// with one thread: see sys.hpp.
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "descriptor.hpp"
#include "socket_name.hpp"
#include "tree/tree.hpp"

namespace gridcentric::live_clone {
namespace {

int blocking_flags(const Descriptor &d) { return (d.flags & O_NONBLOCK ? SOCK_NONBLOCK : 0) | SOCK_CLOEXEC; }

}  // namespace

const char *const descriptors_in_flight = "descriptors in flight (SCM_RIGHTS) are lost";
const char *const path_stays = "listening Unix socket, its path stays the master's";

// The kernel's diagnosis of one Unix socket tells the inode of its peer. Asked one by one, not by dumping the
// sockets of the whole computer.
bool unix_peer(int diag, uint32_t inode, uint32_t *peer) {
  struct {
    nlmsghdr head;
    unix_diag_req request;
  } ask{};
  ask.head.nlmsg_len = sizeof ask;
  ask.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  ask.head.nlmsg_flags = NLM_F_REQUEST;
  ask.request.sdiag_family = AF_UNIX;
  ask.request.udiag_states = ~0u;
  ask.request.udiag_ino = inode;
  ask.request.udiag_cookie[0] = ask.request.udiag_cookie[1] = ~0u;
  ask.request.udiag_show = UDIAG_SHOW_PEER;
  if (sys(SYS_sendto, diag, &ask, sizeof ask, 0, nullptr, 0) < 0) return false;
  alignas(8) char answer[512] = {};
  const long n = sys(SYS_recvfrom, diag, answer, sizeof answer, 0, nullptr, nullptr);
  auto *head = reinterpret_cast<nlmsghdr *>(answer);
  if (n < (long)sizeof *head || head->nlmsg_type == NLMSG_ERROR) return false;
  for (char *p = answer + NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(unix_diag_msg));
       p + 8 <= answer + head->nlmsg_len;) {
    uint16_t length, type;
    memcpy(&length, p, 2);
    memcpy(&type, p + 2, 2);
    if (length < 4) break;
    if (type == UNIX_DIAG_PEER) {
      memcpy(peer, p + 4, 4);
      return true;
    }
    p += (length + 3) & ~3;
  }
  *peer = 0;
  return true;
}

namespace {

struct Message {
  size_t size;
};

// Reads what waits in one end without taking it: SO_PEEK_OFF makes each peek go on where the last one ended,
// so messages come one by one. They are kept as {size, bytes} records; a stream is one record after the other
// all the same.
bool peek_data(Descriptor &d) {
  int waiting = 0;
  sys(SYS_ioctl, d.fd, FIONREAD, &waiting);
  if (waiting <= 0) return true;
  const int off = 0, none = -1;
  if (sys(SYS_setsockopt, d.fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof off) < 0) {
    end_note(note() << "descriptor " << d.fd << ": Unix socket pair, " << waiting << " bytes in flight lost");
    return true;
  }
  bool descriptors_lost = false, ok = true;
  for (;;) {
    iovec part{engine.scratch, engine.scratch_size};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const long n = sys(SYS_recvmsg, d.fd, &message, MSG_PEEK | MSG_DONTWAIT);
    if (n <= 0) break;
    if (message.msg_flags & MSG_CTRUNC)
      descriptors_lost = true;  // no room was given for them: they are not received
    auto *record = static_cast<Message *>(engine.arena.take(sizeof(Message) + (size_t)n));
    if (!record) {
      ok = fail_arena();
      break;
    }
    record->size = (size_t)n;
    memcpy(record + 1, engine.scratch, (size_t)n);
    if (!d.socket.waiting.data) d.socket.waiting.data = reinterpret_cast<char *>(record);
    d.socket.waiting.size++;
  }
  sys(SYS_setsockopt, d.fd, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof none);
  if (descriptors_lost) end_note(note() << "descriptor " << d.fd << ": " << descriptors_in_flight);
  return ok;
}

// Puts what waited in `reader` into the other end of the new pair.
void refill(const Descriptor &reader, int writer) {
  auto *record = reinterpret_cast<const Message *>(reader.socket.waiting.data);
  for (size_t i = 0; i < reader.socket.waiting.size; i++) {
    sys(SYS_sendto, writer, record + 1, record->size, MSG_DONTWAIT | MSG_NOSIGNAL, nullptr, 0);
    // Records lie one behind the other, each on a multiple of 64 as the arena gives them out.
    const auto next = (reinterpret_cast<uint64_t>(record + 1) + record->size + 63) & ~63ul;
    record = reinterpret_cast<const Message *>(next);
  }
}

bool has_path(int fd) {
  sockaddr_un name{};
  unsigned size = sizeof name;
  return sys(SYS_getsockname, fd, &name, &size) == 0 && size > sizeof name.sun_family;
}

// An address of the kernel's choice: bind with nothing but the family.
void bind_anywhere(int fd) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  sys(SYS_bind, fd, &name, sizeof name.sun_family);
}

bool is_lone_end(const Descriptor &d) {
  return d.kind == Kind::unix_dead && d.same_as < 0 && d.socket.peer < 0;
}

bool same(const SocketName &a, const SocketName &b) { return memcmp(&a, &b, sizeof a) == 0; }

struct Names {
  SocketName own{}, peer{};

  explicit Names(const Descriptor &d) {
    own_name(d.fd, &own);
    peer_name(d.fd, &peer);
  }
  bool unnamed() const {
    SocketName none{};
    none.generic.sa_family = AF_UNIX;
    return same(own, none);
  }
  bool may_be_pair(const Names &other) const { return same(own, other.peer) && same(peer, other.own); }
};

// The next lone end after d that has the other's names; null: there is none.
Descriptor *lone_end_like(const Descriptor &d, const Names &names) {
  auto &all = engine.plan.descriptors;
  for (size_t i = 1, at = size_t(&d - all.items); i < all.count; i++) {
    Descriptor &other = all[(at + i) % all.count];
    if (is_lone_end(other) && other.socket.type == d.socket.type && names.may_be_pair(Names(other)))
      return &other;
  }
  return nullptr;
}

// Which sockets are connected when the kernel does not tell: an end without a name gets one of the kernel's choice, which
// the other end then has as that of its peer. Only where there may be another end, and only of one of the two. Connections to
// a listener have its name at one end and none at the other, so those without come first.
void pair_by_names() {
  auto &all = engine.plan.descriptors;
  bool named = true;  // could all be?
  for (const bool unnamed : {true, false}) {
    for (Descriptor &d : all) {
      if (!is_lone_end(d)) continue;
      const Names before(d);
      if (before.unnamed() != unnamed || !lone_end_like(d, before)) continue;
      if (unnamed) bind_anywhere(d.fd);
      const Names names(d);
      if (names.unnamed()) named = false;
      if (names.unnamed()) continue;
      if (Descriptor *other = lone_end_like(d, names)) {
        d.socket.peer = int(other - all.items);
        other->socket.peer = int(&d - all.items);
      }
    }
  }
  if (!named)
    end_note(
        note() << "the kernel does not tell which Unix sockets are connected to each other: pairs become "
                  "dead ends");
}

// Of a tree: the other end is another process's.
bool is_across(Descriptor &d) {
  const int holder = d.socket.peer_inode ? tree::holder_of_socket(d.device, d.socket.peer_inode) : -1;
  if (holder < 0 || holder == engine.prepared.process) return false;
  d.kind = Kind::unix_across;
  d.socket.peer_process = holder;
  return true;
}

// The sender's buffer is large enough for what waits: the master's may have been enlarged.
void equip(const Descriptor &d, int fd) {
  copy_options(d.fd, fd, d);
  const int room = socket_option(d.fd, SOL_SOCKET, SO_SNDBUF) / 2;
  sys(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  const int credentials = socket_option(d.fd, SOL_SOCKET, SO_PASSCRED);
  if (credentials > 0) sys(SYS_setsockopt, fd, SOL_SOCKET, SO_PASSCRED, &credentials, sizeof credentials);
}

}  // namespace

bool plan_unix_sockets() {
  auto &all = engine.plan.descriptors;
  long diag = -1;
  bool told = true;
  for (Descriptor &d : all) {
    if (d.kind == Kind::unix_listener && d.same_as < 0)
      end_note(note() << "descriptor " << d.fd << ": " << path_stays);
    if (d.kind != Kind::unix_dead || d.same_as >= 0) continue;
    sockaddr_un peer{};
    unsigned size = sizeof peer;
    if (sys(SYS_getpeername, d.fd, &peer, &size) < 0) {
      d.kind = Kind::unix_idle;
      continue;
    }
    if (diag == -1) diag = sys(SYS_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (diag < 0 || !unix_peer((int)diag, (uint32_t)d.inode, &d.socket.peer_inode)) told = false;
  }
  if (diag >= 0) sys(SYS_close, diag);
  for (Descriptor &d : all) {
    if (d.kind != Kind::unix_dead || d.same_as >= 0 || !d.socket.peer_inode) continue;
    Descriptor *other = descriptor_of_inode(d.device, d.socket.peer_inode);
    if (other && other->kind == Kind::unix_dead && other->socket.peer_inode == d.inode)
      d.socket.peer = int(other - all.items);
  }
  if (!told) pair_by_names();
  for (Descriptor &d : all) {
    if (d.kind != Kind::unix_dead || d.same_as >= 0) continue;
    if (d.socket.peer >= 0)
      d.kind = Kind::unix_pair;
    else if (!is_across(d))
      continue;
    if (!peek_data(d)) return false;
  }
  return true;
}

bool rebuild_unix_listener(Descriptor &d) {
  const long fd = sys(SYS_socket, AF_UNIX, d.socket.type | blocking_flags(d), 0);
  if (fd >= 0) {
    copy_options(d.fd, (int)fd, d);
    bind_anywhere((int)fd);
    sys(SYS_listen, fd, 128);
  }
  return place_with_duplicates((int)fd, d);
}

bool rebuild_unix_pair(Descriptor &d) {
  Descriptor &other = engine.plan.descriptors[(size_t)d.socket.peer];
  if (&other < &d) return true;  // made with the first end
  int ends[2] = {-1, -1};
  const long r = sys(SYS_socketpair, AF_UNIX, d.socket.type | SOCK_CLOEXEC, 0, ends);
  if (r < 0) return place((int)r, d);
  equip(d, ends[0]);
  equip(other, ends[1]);
  refill(d, ends[1]);
  refill(other, ends[0]);
  sys(SYS_fcntl, ends[0], F_SETFL, d.flags);
  sys(SYS_fcntl, ends[1], F_SETFL, other.flags);
  return place_with_duplicates(ends[0], d) && place_with_duplicates(ends[1], other);
}

bool freeze_unix_across(Descriptor &d) {
  int ends[2] = {-1, -1};
  const long r = sys(SYS_socketpair, AF_UNIX, d.socket.type | SOCK_CLOEXEC, 0, ends);
  if (r < 0) return place((int)r, d);
  equip(d, ends[0]);
  sys(SYS_close, ends[1]);
  return place_with_duplicates(ends[0], d);
}

bool rebuild_unix_across(Descriptor &d) {
  const int other = d.socket.peer_process;
  int mine = -1, theirs = -1;
  if (other < engine.prepared.process) {
    mine = (int)tree::take(other, d.device, d.inode, false, 0);
    theirs = mine < 0 ? -1 : (int)tree::take(other, d.device, d.inode, false, 1);
  } else {
    int ends[2] = {-1, -1};
    const long r = sys(SYS_socketpair, AF_UNIX, d.socket.type | SOCK_CLOEXEC, 0, ends);
    if (r < 0) return place((int)r, d);
    mine = ends[0];
    theirs = (int)sys(SYS_fcntl, ends[1], F_DUPFD_CLOEXEC, 0);
    const int again = (int)sys(SYS_fcntl, mine, F_DUPFD_CLOEXEC, 0);
    if (!tree::offer(d.device, d.socket.peer_inode, false, ends[1], again)) return false;
  }
  if (mine < 0 || theirs < 0) return place(mine < 0 ? mine : theirs, d);
  equip(d, mine);
  refill(d, theirs);
  sys(SYS_close, theirs);
  sys(SYS_fcntl, mine, F_SETFL, d.flags);
  return place_with_duplicates(mine, d);
}

bool freeze_unix_dead(Descriptor &d) { return d.socket.type == SOCK_DGRAM || let_go(d); }

// A datagram socket is connected again (to the system log, say); a stream whose other end nobody holds reads
// EOF.
bool rebuild_unix_dead(Descriptor &d) {
  sockaddr_un peer{};
  unsigned size = sizeof peer;
  if (d.socket.type == SOCK_DGRAM && sys(SYS_getpeername, d.fd, &peer, &size) == 0 &&
      size > sizeof peer.sun_family) {
    const long fd = sys(SYS_socket, AF_UNIX, d.socket.type | blocking_flags(d), 0);
    if (fd >= 0) copy_options(d.fd, (int)fd, d);
    if (fd >= 0) sys(SYS_connect, fd, &peer, size);
    return place_with_duplicates((int)fd, d);
  }
  int ends[2] = {-1, -1};
  const long r = sys(SYS_socketpair, AF_UNIX, d.socket.type | blocking_flags(d), 0, ends);
  if (r < 0) return place((int)r, d);
  sys(SYS_close, ends[1]);
  return place_with_duplicates(ends[0], d);
}

bool rebuild_unix_idle(Descriptor &d) {
  const long fd = sys(SYS_socket, AF_UNIX, d.socket.type | blocking_flags(d), 0);
  if (fd >= 0) copy_options(d.fd, (int)fd, d);
  if (fd >= 0 && has_path(d.fd)) bind_anywhere((int)fd);
  return place_with_duplicates((int)fd, d);
}

}  // namespace gridcentric::live_clone
