// TCP connections of the program to itself: each domain goes on with its own, and what was under way is there once in each.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tcp_connection.hpp"
#include "testee.hpp"

using namespace testee;

namespace {

constexpr size_t large = 3 << 20;

bool has_ipv6() {
  const int fd = socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 a{};
  a.sin6_family = AF_INET6;
  a.sin6_addr = in6addr_loopback;
  const bool can = fd >= 0 && bind(fd, (sockaddr *)&a, sizeof a) == 0;
  close(fd);
  return can;
}

int count_sockets() {
  int count = 0;
  struct stat st;
  for (int fd = 0; fd < 256; fd++) count += fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
  return count;
}

void idle(const Listening &at) {
  const Connection c(at), another(at);
  const int before = count_sockets();
  const int index = clone_here();
  CHECK(!degraded("TCP"));
  CHECK_EQ(count_sockets(), before);
  goes_on(c);
  goes_on(another);
  CHECK(name_of(c.client).peer == name_of(c.server).local &&
        name_of(c.server).peer == name_of(c.client).local);
  if (!index) wait_for_clones();
  goes_on(c);  // the ends of the clones are not those of the master
  close(c.client);
  CHECK(has_ended(c.server));
}

}  // namespace

TESTEE(tcp_pair_idle) { idle(Listening(AF_INET)); }
TESTEE(tcp_pair_of_an_address_of_its_own) { idle(Listening(AF_INET, "127.9.8.7")); }
TESTEE(tcp_pair_ipv6) {
  if (has_ipv6())
    idle(Listening(AF_INET6, "::1"));
  else
    clone_here();
}
TESTEE(tcp_pair_of_both_families) { idle(Listening(AF_INET6, "::ffff:127.0.0.1")); }

TESTEE(tcp_pair_without_its_listener) {
  Listening at(AF_INET);
  const Connection c(at);
  close(at.fd);
  clone_here();
  goes_on(c);
}

// A clone's listener, and what it had accepted, are on its own address with the same port.
TESTEE(tcp_pair_has_the_port_of_its_listener) {
  const Listening at(AF_INET);
  const Connection c(at);
  const auto o = order();
  const int index = clone_here(o);
  const std::string address = index ? text_of(o.addresses[(size_t)index - 1]) : "127.0.0.1";
  CHECK(name_of(c.server).local == address + " " + std::to_string(at.port));
  CHECK(name_of(c.client).peer == name_of(c.server).local);
  CHECK(name_of(at.fd).local == (index ? name_of(c.server).local : "127.0.0.1 " + std::to_string(at.port)));
  goes_on(c);
  const int fresh = connect_to(address, at.port);
  const int accepted = accept(at.fd, nullptr, nullptr);
  CHECK(fresh >= 0 && accepted >= 0);
}

TESTEE(tcp_pair_with_bytes_under_way) {
  const Connection c(Listening(AF_INET));
  const int again = dup(c.server);
  send_all(c.client, pattern(10'000, 1));
  send_all(c.server, pattern(20'000, 2));
  CHECK(receive(c.server, 100) == pattern(10'000, 1).substr(0, 100));
  clone_here();
  CHECK(receive(again, 9'900) == pattern(10'000, 1).substr(100));
  CHECK(receive(c.client, 20'000) == pattern(20'000, 2));
  goes_on(c);
  send_all(again, "by the duplicate");
  CHECK(receive(c.client, 16) == "by the duplicate");
}

// More than the reader has room for: the rest is in the sender's queue.
TESTEE(tcp_pair_with_a_full_queue) {
  const Connection c(Listening(AF_INET));
  const std::string text = pattern(large, 3);
  fcntl(c.client, F_SETFL, O_NONBLOCK);
  size_t sent = 0;
  for (ssize_t n; sent < large && (n = send(c.client, text.data() + sent, large - sent, 0)) > 0;)
    sent += (size_t)n;
  int unsent = 0;
  ioctl(c.client, 0x894B /* SIOCOUTQNSD */, &unsent);
  CHECK(sent > 500'000 && unsent > 0);
  send_all(c.server, pattern(30'000, 4));
  const int low_water = 3, reader = c.server;
  CHECK(setsockopt(reader, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water) == 0);
  clone_here();
  CHECK(!degraded("TCP"));
  int mark = 0;
  socklen_t size = sizeof mark;
  CHECK(getsockopt(reader, SOL_SOCKET, SO_RCVLOWAT, &mark, &size) == 0 && mark == low_water);
  CHECK(receive(reader, sent) == text.substr(0, sent));
  CHECK(receive(c.client, 30'000) == pattern(30'000, 4));
  mark = 1;
  setsockopt(reader, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark);
  goes_on(c);
}

// A program may look at its queue piece by piece (Linux 6.9 and newer, for TCP).
TESTEE(tcp_pair_that_is_looked_at) {
  const Connection c(Listening(AF_INET));
  const std::string text = pattern(600'000, 7);
  const int begin = 0;
  const bool can = setsockopt(c.server, SOL_SOCKET, SO_PEEK_OFF, &begin, sizeof begin) == 0;
  fcntl(c.client, F_SETFL, O_NONBLOCK);
  const ssize_t sent = send(c.client, text.data(), text.size(), 0);
  CHECK(sent > 100'000);
  const auto look = [&c] {
    char piece[100];
    CHECK(recv(c.server, piece, sizeof piece, MSG_PEEK) == sizeof piece);
    return std::string(piece, sizeof piece);
  };
  CHECK(look() == text.substr(0, 100));
  clone_here();
  CHECK(look() == text.substr(can ? 100 : 0, 100));
  CHECK(receive(c.server, (size_t)sent) == text.substr(0, (size_t)sent));
}

// What Nagle's algorithm and a cork keep back is sent, and is there in all.
TESTEE(tcp_pair_with_bytes_kept_back) {
  const Connection nagled(Listening(AF_INET)), corked(Listening(AF_INET));
  const int on = 1;
  for (int i = 0; i < 50; i++) send_all(nagled.client, "12345");
  CHECK(setsockopt(corked.client, IPPROTO_TCP, TCP_CORK, &on, sizeof on) == 0);
  send_all(corked.client, "corked");
  clone_here();
  CHECK(receive(corked.server, 6) == "corked");
  CHECK(receive(nagled.server, 250).substr(245) == "12345");
  goes_on(nagled);
}

TESTEE(tcp_pair_half_closed) {
  const Connection c(Listening(AF_INET)), empty(Listening(AF_INET)), deaf(Listening(AF_INET));
  send_all(c.client, "last words");
  CHECK(shutdown(c.client, SHUT_WR) == 0 && shutdown(empty.server, SHUT_WR) == 0);
  CHECK(shutdown(deaf.client, SHUT_RD) == 0);
  clone_here();
  CHECK(send(c.client, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
  CHECK(is_empty(c.client) && receive(c.server, 10) == "last words" && has_ended(c.server));
  send_all(c.server, "reply");
  CHECK(receive(c.client, 5) == "reply" && is_empty(c.client));
  CHECK(shutdown(c.server, SHUT_WR) == 0 && has_ended(c.client));
  CHECK(has_ended(empty.client) && is_empty(empty.server));
  send_all(empty.client, "still");
  CHECK(receive(empty.server, 5) == "still");
  CHECK(has_ended(deaf.client));
  send_all(deaf.client, "heard");
  CHECK(receive(deaf.server, 5) == "heard");
}

// The end is behind bytes for which there is no room yet.
TESTEE(tcp_pair_ends_after_a_full_queue) {
  const Connection c(Listening(AF_INET));
  fcntl(c.client, F_SETFL, O_NONBLOCK);
  const std::string text = pattern(1 << 20, 5);
  const ssize_t sent = send(c.client, text.data(), text.size(), 0);
  CHECK(sent > 200'000 && shutdown(c.client, SHUT_WR) == 0);
  clone_here();
  CHECK(receive(c.server, (size_t)sent) == text.substr(0, (size_t)sent) && has_ended(c.server));
}

TESTEE(tcp_pair_in_an_epoll_set) {
  const Connection c(Listening(AF_INET));
  const int set = epoll_create1(0);
  epoll_event e{};
  e.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  e.data.u64 = 77;
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, c.server, &e) == 0);
  clone_here();
  CHECK_EQ(epoll_wait(set, &e, 1, 0), 0);
  send_all(c.client, "wake");
  CHECK(epoll_wait(set, &e, 1, -1) == 1 && e.data.u64 == 77 && e.events == EPOLLIN);
  CHECK(receive(c.server, 4) == "wake");
  CHECK(shutdown(c.client, SHUT_WR) == 0);
  CHECK(epoll_wait(set, &e, 1, -1) == 1 && e.events == (EPOLLIN | EPOLLRDHUP));
}

TESTEE(tcp_pair_keeps_its_options) {
  const Connection c(Listening(AF_INET));
  const int one = 1, idle_s = 33, room = 50'000;
  const timeval limit{0, 20'000};
  for (int fd : {c.client, c.server}) {
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) == 0);
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
  }
  fcntl(c.client, F_SETFL, O_NONBLOCK);
  fcntl(c.client, F_SETFD, FD_CLOEXEC);
  const int copy = dup(c.client);
  clone_here();
  for (int fd : {c.client, c.server, copy}) {
    const auto value = [fd](int level, int name) {
      int v = 0;
      socklen_t size = sizeof v;
      CHECK(getsockopt(fd, level, name, &v, &size) == 0);
      return v;
    };
    CHECK_EQ(value(IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(value(SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(value(IPPROTO_TCP, TCP_KEEPIDLE), idle_s);
    CHECK(value(SOL_SOCKET, SO_RCVLOWAT) == 1);
    timeval kept{};
    socklen_t size = sizeof kept;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kept, &size) == 0 && kept.tv_usec == limit.tv_usec);
  }
  CHECK((fcntl(c.client, F_GETFL) & O_NONBLOCK) && !(fcntl(c.server, F_GETFL) & O_NONBLOCK));
  CHECK((fcntl(copy, F_GETFL) & O_NONBLOCK) && fcntl(copy, F_GETFD) == 0);
  CHECK(fcntl(c.client, F_GETFD) == FD_CLOEXEC && fcntl(c.server, F_GETFD) == 0);
}

TESTEE(tcp_pair_with_small_buffers) {
  const Connection c(Listening(AF_INET), 2'000);
  fcntl(c.client, F_SETFL, O_NONBLOCK);
  size_t sent = 0;
  const auto full = [&c] {
    int unsent = 0;
    ioctl(c.client, 0x894B /* SIOCOUTQNSD */, &unsent);
    return unsent > 0;
  };
  while (!full() && send(c.client, "x", 1, 0) == 1) sent++;
  CHECK(receive(c.server, sent / 2) == std::string(sent / 2, 'x'));
  until([&] { return !full(); });
  clone_here();
  CHECK(!degraded("TCP"));
  CHECK(receive(c.server, sent - sent / 2) == std::string(sent - sent / 2, 'x'));
  fcntl(c.client, F_SETFL, 0);
  goes_on(c);
}
