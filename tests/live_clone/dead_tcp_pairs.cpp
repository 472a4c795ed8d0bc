// TCP connections of the program to itself that clones can't have: dead ends, and named; the master's go on.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp_connection.hpp"
#include "testee.hpp"

using namespace testee;

namespace {

// What a clone has of one that can't be carried over: both ends have ended, and it was said why.
void is_dead_in_clones(const Connection &c, int index, const std::string &why) {
  CHECK(degraded("TCP connection to descriptor") && degraded(why));
  if (index) CHECK(is_dead_end(c.client) && is_dead_end(c.server));
}

}  // namespace

TESTEE(tcp_pair_whose_buffer_is_full_is_named) {
  const Connection c(Listening(AF_INET), 4'000);
  fcntl(c.client, F_SETFL, O_NONBLOCK);
  const std::string text = pattern(200'000, 6);
  ssize_t sent = 0;
  for (ssize_t n; (n = send(c.client, text.data() + sent, 1'000, 0)) > 0;) sent += n;
  const int index = clone_here();
  // Before Linux 5.14 the kernel does not tell that its size is set.
  is_dead_in_clones(c, index, degraded("no room") ? "no room" : "does not arrive");
  if (!index) CHECK(receive(c.server, (size_t)sent) == text.substr(0, (size_t)sent));
}

TESTEE(tcp_pair_with_urgent_data_is_named) {
  const Connection c(Listening(AF_INET)), passed(Listening(AF_INET));
  CHECK(send(c.client, "!", 1, MSG_OOB) == 1 && send(passed.client, "!", 1, MSG_OOB) == 1);
  pollfd p{passed.server, POLLPRI, 0};
  CHECK(poll(&p, 1, -1) == 1);
  char urgent;
  CHECK(recv(passed.server, &urgent, 1, MSG_OOB) == 1 && urgent == '!');
  send_all(passed.client, "after it");
  CHECK(receive(passed.server, 8) == "after it");
  const int index = clone_here();
  is_dead_in_clones(c, index, "urgent");
  goes_on(passed);
  if (!index) CHECK(recv(c.server, &urgent, 1, MSG_OOB) == 1 && urgent == '!');
}

TESTEE(tcp_pair_that_sends_without_copying_is_named) {
  const Connection c(Listening(AF_INET));
  const int on = 1;
  CHECK(setsockopt(c.server, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0);
  is_dead_in_clones(c, clone_here(), "SO_ZEROCOPY");
}

TESTEE(tcp_connection_that_is_not_accepted_is_named) {
  const Listening at(AF_INET);
  const int waiting = connect_to("127.0.0.1", at.port);
  CHECK(waiting >= 0 && send(waiting, "hello", 5, 0) == 5);
  const int index = clone_here();
  CHECK(degraded("not accepted yet"));
  if (index) {
    CHECK(is_dead_end(waiting));
    fcntl(at.fd, F_SETFL, O_NONBLOCK);
    CHECK(accept(at.fd, nullptr, nullptr) == -1 && errno == EAGAIN);
  } else {
    CHECK(receive(accept(at.fd, nullptr, nullptr), 5) == "hello");
  }
}

TESTEE(tcp_socket_connected_to_itself_is_named) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  CHECK(bind(fd, (sockaddr *)&a, size) == 0 && getsockname(fd, (sockaddr *)&a, &size) == 0);
  CHECK(connect(fd, (sockaddr *)&a, size) == 0);
  const int index = clone_here();
  CHECK(degraded("connected to itself"));
  if (index) CHECK(is_dead_end(fd));
}

// What stands on 0 to 2 is shared with the master, and its other end stays the master's.
TESTEE(tcp_pair_on_a_standard_stream_is_none) {
  const Connection c(Listening(AF_INET));
  CHECK(dup2(c.client, 0) == 0);
  send_all(c.server, "once");
  const int index = clone_here();
  if (index) CHECK(is_dead_end(c.server));
  if (index) return;
  CHECK(receive(0, 4) == "once");
  wait_for_clones();
  CHECK(send(0, "still", 5, 0) == 5 && receive(c.server, 5) == "still");
}

// Nothing shows any more that the other end was the program's: treated as a connection to another program.
TESTEE(tcp_connection_whose_other_end_is_closed) {
  const Connection c(Listening(AF_INET));
  send_all(c.client, "unread");
  close(c.client);
  pollfd p{c.server, POLLRDHUP, 0};
  CHECK(poll(&p, 1, -1) == 1);
  const int index = clone_here();
  if (index)
    CHECK(is_dead_end(c.server));
  else
    CHECK(receive(c.server, 6) == "unread" && has_ended(c.server));
}
