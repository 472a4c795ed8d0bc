// UDP between processes of the tree, by loopback addresses. In a clone their sockets are on its address with their old ports, and
// what waited in one of them is sent there again by the copy of the socket that had sent it, so that it comes from the right
// address. What others had sent stays the master's.
#include <netinet/in.h>
#include <string.h>

#include "../descriptor.hpp"
#include "../socket_name.hpp"
#include "../tcp_ends.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone::tree {
namespace {

constexpr size_t largest_datagram = 64 * 1024;
constexpr int peek_offset = 42 /* SO_PEEK_OFF */;

/// Of one socket's, in the order in which they are read.
struct Datagram {
  Datagram *next;
  int process, fd;  ///< it was sent by this socket
  size_t size;
  char data[];
};

const OpenFile *socket_at(uint16_t port, int *process) {
  for (*process = 0; port && *process < page().count; ++*process)
    for (int k = 0; k < page().processes[*process].open_files; k++)
      if (const OpenFile &f = page().open_files(*process)[k];
          f.kind == (int)Kind::udp && f.port == port && f.loops)
        return &f;
  return nullptr;
}

// The last one's `next` is where the following one goes.
bool copy_datagram(const SocketName &from, const char *data, size_t size, Datagram ***last) {
  const Endpoint sender = endpoint_of(from);
  int process;
  const OpenFile *f = is_on_loopback(sender) ? socket_at(sender.port, &process) : nullptr;
  if (!f) return true;
  auto *to = static_cast<Datagram *>(engine.arena.take(sizeof(Datagram) + size));
  if (!to) return fail_arena();
  to->next = nullptr;
  to->process = process;
  to->fd = f->fd;
  to->size = size;
  memcpy(to->data, data, size);
  **last = to;
  *last = &to->next;
  return true;
}

bool send_again(const Datagram &sent, const SocketName &to) {
  const Copy &copy = page().copy(sent.process, own_clone());
  const double deadline = now_ms() + offer_timeout_ms;
  while (!copy.in_place)
    if (!wait_for_word(copy.in_place, 0, deadline))
      return fail(ETIMEDOUT) << "a UDP socket of another process was not there in time", false;
  const long from = fetch(sent.process, sent.fd);
  const long r = from < 0 ? from
                          : sys(SYS_sendto, from, sent.data, sent.size, MSG_DONTWAIT, &to,
                                to.is_v6() ? sizeof to.v6 : sizeof to.v4);
  if (from >= 0) sys(SYS_close, from);
  if (r >= 0) return true;
  return fail((int)-r) << "a datagram that waited can't be sent again (error " << -r << ")", false;
}

}  // namespace

uint16_t port_of_own(int fd) {
  Connection c;
  int process;
  if (!whole() || !connection_of(fd, &c) || !is_on_loopback(c.peer)) return 0;
  return socket_at(c.peer.port, &process) ? c.peer.port : 0;
}

// Looks at one after the other, and takes none.
bool copy_datagrams(Descriptor &d) {
  SocketName own{};
  if (!whole() || !own_name(d.fd, &own) || !is_on_loopback(endpoint_of(own))) return true;
  auto *data = static_cast<char *>(engine.arena.take(largest_datagram));
  if (!data) return fail_arena();
  const int before = socket_option(d.fd, SOL_SOCKET, peek_offset);
  set_socket_option(d.fd, SOL_SOCKET, peek_offset, 0);
  Datagram *first = nullptr, **last = &first;
  bool ok = true;
  for (;;) {
    SocketName from{};
    unsigned size = sizeof from;
    const long n = sys(SYS_recvfrom, d.fd, data, largest_datagram, MSG_PEEK | MSG_DONTWAIT, &from, &size);
    if (n < 0 || !(ok = copy_datagram(from, data, (size_t)n, &last))) break;
  }
  set_socket_option(d.fd, SOL_SOCKET, peek_offset, before);
  d.socket.waiting.data = reinterpret_cast<char *>(first);
  return ok;
}

bool send_datagrams() {
  for (const Descriptor &d : engine.plan.descriptors) {
    if (!whole() || d.kind != Kind::udp || d.same_as >= 0 || !d.socket.waiting.data) continue;
    SocketName to{};
    if (!own_name(d.fd, &to)) continue;
    for (auto *sent = reinterpret_cast<const Datagram *>(d.socket.waiting.data); sent; sent = sent->next)
      if (!send_again(*sent, to)) return false;
  }
  return true;
}

}  // namespace gridcentric::live_clone::tree
