// Sockets: listeners move to the clone's address, connections stay with the master, pairs are copied with their contents.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testee.hpp"

using namespace testee;

static uint32_t clone_base;  // address of clone k: clone_base + k

static live_clone::Order addressed_order() {
  auto o = order();
  // Addresses unique to this process, because testees run side by side.
  clone_base = 0x7f4e0000u + (uint32_t(getpid()) % 16000) * 4;
  for (size_t k = 0; k < o.addresses.size(); k++) o.addresses[k] = clone_base + uint32_t(k) + 1;
  return o;
}

static int listen_on(int family, uint16_t *port) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 six{};
  sockaddr_in four{};
  six.sin6_family = AF_INET6;
  four.sin_family = AF_INET;
  socklen_t size = family == AF_INET6 ? sizeof six : sizeof four;
  sockaddr *a = family == AF_INET6 ? (sockaddr *)&six : (sockaddr *)&four;
  if (family == AF_INET6) {
    const int off = 0;
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  }
  CHECK(bind(fd, a, size) == 0 && listen(fd, 77) == 0 && getsockname(fd, a, &size) == 0);
  *port = ntohs(family == AF_INET6 ? six.sin6_port : four.sin_port);
  return fd;
}

static int connect_to(uint32_t address, uint16_t port, int type = SOCK_STREAM) {
  const int fd = socket(AF_INET, type, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(address);
  if (connect(fd, (sockaddr *)&a, sizeof a) == 0) return fd;
  close(fd);
  return -1;
}

// Each process connects to its own address and must accept that connection itself.
static void serve_myself(int listener, uint32_t address, uint16_t port) {
  const int client = connect_to(address, port);
  CHECK(client >= 0);
  const int served = accept(listener, nullptr, nullptr);
  CHECK(served >= 0 && write(served, "hello", 5) == 5);
  char text[8] = {};
  CHECK(read(client, text, 5) == 5 && !strcmp(text, "hello"));
  close(client);
  close(served);
}

static void listener(int family) {
  uint16_t port;
  const int fd = listen_on(family, &port), copy = dup(fd);
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const int index = clone_here(addressed_order());
  tcp_info info{};
  socklen_t size = sizeof info;
  CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
  CHECK_EQ(info.tcpi_sacked, 77u);  // the backlog
  for (int level : {int(SOL_SOCKET), int(IPPROTO_TCP)}) {
    int value = 0;
    size = sizeof value;
    CHECK(getsockopt(fd, level, level == SOL_SOCKET ? SO_KEEPALIVE : TCP_NODELAY, &value, &size) == 0 &&
          value == 1);
  }
  serve_myself(fd, index ? clone_base + (uint32_t)index : INADDR_LOOPBACK, port);
  serve_myself(copy, index ? clone_base + (uint32_t)index : INADDR_LOOPBACK, port);
}

TESTEE(tcp_listener_moves) { listener(AF_INET); }
TESTEE(tcp6_listener_moves) { listener(AF_INET6); }

// The other end is in a child process.
TESTEE(tcp_connection_stays_with_master) {
  uint16_t port;
  const int fd = listen_on(AF_INET, &port), fresh = socket(AF_INET, SOCK_STREAM, 0);
  const pid_t child = fork();
  if (child == 0) {
    const int client = connect_to(INADDR_LOOPBACK, port);
    char text[16] = {};
    const bool heard = write(client, "before", 6) == 6 && read(client, text, sizeof text) == 5;
    _exit(heard && write(client, "still", 5) == 5 && read(client, text, 1) == 0 ? 0 : 1);
  }
  const int served = accept(fd, nullptr, nullptr);
  pollfd p{served, POLLIN | POLLRDHUP, 0};
  CHECK(served >= 0 && poll(&p, 1, -1) == 1);
  const int index = clone_here(addressed_order());
  char text[16] = {};
  if (index) {
    CHECK(read(served, text, sizeof text) == 0);
    CHECK(send(served, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
    CHECK(poll(&p, 1, 0) == 1 && (p.revents & POLLIN) && (p.revents & POLLRDHUP));
  } else {
    wait_for_clones();  // when clones end, the master's connection must stay open
    CHECK(read(served, text, sizeof text) == 6);
    CHECK(write(served, "after", 5) == 5 && read(served, text, sizeof text) == 5);
    close(served);
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  sockaddr_in a{};
  a.sin_family = AF_INET;
  CHECK(bind(fresh, (sockaddr *)&a, sizeof a) == 0 && listen(fresh, 1) == 0);
}

TESTEE(udp_socket_moves) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0), unbound = socket(AF_INET6, SOCK_DGRAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  socklen_t size = sizeof a;
  CHECK(bind(fd, (sockaddr *)&a, size) == 0 && getsockname(fd, (sockaddr *)&a, &size) == 0);
  const int connected = connect_to(INADDR_LOOPBACK, ntohs(a.sin_port), SOCK_DGRAM);
  const int index = clone_here(addressed_order());
  const int sender =
      connect_to(index ? clone_base + (uint32_t)index : INADDR_LOOPBACK, ntohs(a.sin_port), SOCK_DGRAM);
  const std::string mine = "datagram of " + std::to_string(index);
  CHECK(write(sender, mine.data(), mine.size()) == (ssize_t)mine.size());
  char text[32] = {};
  CHECK(read(fd, text, sizeof text) == (ssize_t)mine.size() && text == mine);
  size = sizeof a;
  CHECK(getpeername(connected, (sockaddr *)&a, &size) == 0 && a.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  CHECK(fcntl(unbound, F_GETFD) == 0);
}

static void pair_of(int type, int messages) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, type, 0, ends) == 0);
  const int copy = dup(ends[0]);
  for (int i = 0; i < messages; i++) {
    const std::string m = "message " + std::to_string(i);
    CHECK(write(ends[0], m.data(), m.size()) == (ssize_t)m.size());
  }
  CHECK(write(ends[1], "back", 4) == 4);
  clone_here();
  std::string expected, got;
  for (int i = 0; i < messages; i++) {
    expected += "message " + std::to_string(i);
    char text[64];
    if (type == SOCK_STREAM) continue;
    const ssize_t n = read(ends[1], text, sizeof text);
    CHECK(n > 0);
    CHECK(std::string(text, (size_t)n) == "message " + std::to_string(i));
  }
  while (type == SOCK_STREAM && got.size() < expected.size()) {
    char text[64];
    const ssize_t n = read(ends[1], text, sizeof text);
    CHECK(n > 0);
    got.append(text, (size_t)n);
  }
  CHECK(got == (type == SOCK_STREAM ? expected : ""));
  char text[8];
  CHECK(read(copy, text, sizeof text) == 4);
  CHECK(recv(ends[1], text, sizeof text, MSG_DONTWAIT) == -1 && errno == EAGAIN);
  CHECK(write(copy, "z", 1) == 1 && read(ends[1], text, 1) == 1);
}

TESTEE(unix_stream_pair) { pair_of(SOCK_STREAM, 40); }
TESTEE(unix_datagram_pair) { pair_of(SOCK_DGRAM, 5); }
TESTEE(unix_seqpacket_pair) { pair_of(SOCK_SEQPACKET, 5); }

TESTEE(unix_sockets_keep_their_limits) {
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const int idle = socket(AF_UNIX, SOCK_DGRAM, 0), listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  CHECK(bind(listener, (sockaddr *)&name, sizeof name.sun_family) == 0 && listen(listener, 1) == 0);
  const timeval limit{0, 20'000};
  for (int fd : {pair[0], pair[1], idle, listener})
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
          setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
  clone_here();
  for (int fd : {pair[0], pair[1], idle, listener})
    for (int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
      timeval kept{};
      socklen_t size = sizeof kept;
      CHECK(getsockopt(fd, SOL_SOCKET, option, &kept, &size) == 0);
      CHECK_EQ(kept.tv_usec, limit.tv_usec);
    }
  char c;
  CHECK(recv(pair[0], &c, 1, 0) == -1 && errno == EAGAIN);
  CHECK(accept(listener, nullptr, nullptr) == -1 && errno == EAGAIN);
}

TESTEE(unix_descriptor_in_flight_is_reported) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  char space[CMSG_SPACE(sizeof(int))] = {}, byte = 'x';
  iovec part{&byte, 1};
  msghdr m{};
  m.msg_iov = &part;
  m.msg_iovlen = 1;
  m.msg_control = space;
  m.msg_controllen = sizeof space;
  cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  *(int *)CMSG_DATA(c) = 2;
  CHECK(sendmsg(ends[0], &m, 0) == 1);
  const size_t before = count_descriptors();
  const int index = clone_here();
  CHECK(degraded("in flight"));
  if (!index) wait_for_clones();
  if (!index) CHECK_EQ(count_descriptors(), before);
}

TESTEE(unix_listener_keeps_its_path_in_the_master) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  snprintf(name.sun_path, sizeof name.sun_path, "/tmp/live-clone-testee-%d.sock", getpid());
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(fd, (sockaddr *)&name, sizeof name) == 0 && listen(fd, 5) == 0);
  const int dead =
      socket(AF_UNIX, SOCK_STREAM, 0);  // to another process: the queue of our own listener will do
  CHECK(connect(dead, (sockaddr *)&name, sizeof name) == 0);
  const int index = clone_here();
  CHECK(degraded("listening Unix socket"));
  if (index) {
    sockaddr_un mine{};
    socklen_t size = sizeof mine;
    CHECK(getsockname(fd, (sockaddr *)&mine, &size) == 0 && size > sizeof mine.sun_family &&
          mine.sun_path[0] == 0);
    const int client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(client, (sockaddr *)&mine, size) == 0 && accept(fd, nullptr, nullptr) >= 0);
    char c;
    CHECK(read(dead, &c, 1) == 0);
  } else {
    CHECK(accept(fd, nullptr, nullptr) >= 0);
    wait_for_clones();
    unlink(name.sun_path);
  }
}

TESTEE(netlink_socket) {
  const int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  sockaddr_nl a{};
  a.nl_family = AF_NETLINK;
  a.nl_groups = 1;
  CHECK(bind(fd, (sockaddr *)&a, sizeof a) == 0);
  clone_here();
  sockaddr_nl mine{};
  socklen_t size = sizeof mine;
  CHECK(getsockname(fd, (sockaddr *)&mine, &size) == 0 && mine.nl_groups == 1 && mine.nl_pid != 0);
}
