// Clones are made while threads talk to each other over TCP: no byte is lost or comes twice, in the master or in clones.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "tcp_connection.hpp"
#include "testee.hpp"

using namespace testee;

namespace {

constexpr int most_clonings = 5;

bool send_bytes(int fd, const void *bytes, size_t size) {
  const auto *at = static_cast<const char *>(bytes);
  while (size) {
    const ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
    if (n <= 0) return false;
    at += n;
    size -= (size_t)n;
  }
  return true;
}

// False at the end.
bool receive_all(int fd, void *bytes, size_t size) {
  for (auto *at = static_cast<char *>(bytes); size;) {
    const ssize_t n = recv(fd, at, size, 0);
    CHECK(n >= 0);
    if (n == 0) return false;
    at += n;
    size -= (size_t)n;
  }
  return true;
}

// Each message is its number, again and again.
struct Echo {
  Connection connection;
  std::atomic<long> rounds{0};
  std::atomic<bool> stop{false};
  std::thread asking, answering;

  explicit Echo(const Listening &at) : connection(at) {
    asking = std::thread([this] { ask(); });
    answering = std::thread([this] { answer(); });
  }
  void ask() {
    for (; !stop; rounds++) {
      std::vector<long> sent(1 + (size_t)rounds % 3000, rounds), got(sent.size());
      const size_t size = sent.size() * sizeof(long);
      CHECK(send_bytes(connection.client, sent.data(), size) &&
            receive_all(connection.client, got.data(), size));
      CHECK(got == sent);
    }
    CHECK(shutdown(connection.client, SHUT_WR) == 0);
    char c;
    CHECK(recv(connection.client, &c, 1, 0) == 0);
  }
  void answer() {
    char bytes[4096];
    for (ssize_t n; (n = recv(connection.server, bytes, sizeof bytes, 0));) {
      CHECK(n > 0);
      CHECK(send_bytes(connection.server, bytes, (size_t)n));
    }
    close(connection.server);
  }
  void finish() {
    const long now = rounds;
    until([&] { return rounds > now + 20; });
    stop = true;
    asking.join();
    answering.join();
  }
};

// Numbers in a row, as fast as they are read, but never too far ahead.
struct Stream {
  static constexpr long ahead = 2 << 20, block = 8192;
  Connection connection;
  std::atomic<long> written{0}, read{0};
  std::atomic<bool> stop{false};
  std::thread writing, reading;

  explicit Stream(const Listening &at) : connection(at) {
    writing = std::thread([this] { write_all(); });
    reading = std::thread([this] { read_all(); });
  }
  void write_all() {
    std::vector<long> numbers(block);
    for (long next = 0; !stop;) {
      for (long &n : numbers) n = next++;
      written += (long)(numbers.size() * sizeof(long));
      CHECK(send_bytes(connection.client, numbers.data(), numbers.size() * sizeof(long)));
      while (written - read > ahead && !stop) std::this_thread::yield();
    }
    close(connection.client);
  }
  void read_all() {
    std::vector<long> numbers(block / 4);
    for (long next = 0; receive_all(connection.server, numbers.data(), numbers.size() * sizeof(long));) {
      for (const long n : numbers) CHECK_EQ(n, next++);
      read += (long)(numbers.size() * sizeof(long));
    }
    close(connection.server);
  }
  void finish() {
    const long now = read;
    until([&] { return read > now + 4 * ahead; });
    stop = true;
    writing.join();
    reading.join();
    CHECK_EQ(read.load(), written.load());
  }
};

}  // namespace

TESTEE(busy_tcp_pairs_that_echo) {
  Echo one{Listening(AF_INET)}, other{Listening(AF_INET)};
  for (int i = 0; i < most_clonings; i++) {
    const long now = one.rounds;
    until([&] { return one.rounds > now + 5; });
    const int index = clone_here();
    CHECK(!degraded("TCP"));
    if (index) break;
  }
  one.finish();
  other.finish();
}

TESTEE(busy_tcp_pairs_that_stream) {
  Stream stream{Listening(AF_INET)};
  for (int i = 0; i < most_clonings; i++) {
    const long now = stream.read;
    until([&] { return stream.read > now + 100'000; });
    const int index = clone_here();
    CHECK(!degraded("TCP"));
    if (index) break;
  }
  stream.finish();
}

TESTEE(two_hundred_tcp_pairs) {
  const Listening at(AF_INET);
  std::vector<Connection> all;
  for (int i = 0; i < 200; i++) {
    all.emplace_back(at);
    CHECK(send_bytes(all.back().client, &i, sizeof i));
  }
  clone_here();
  CHECK(!degraded("TCP"));
  for (int i = 0; i < 200; i++) {
    int got = -1;
    CHECK(receive_all(all[(size_t)i].server, &got, sizeof got));
    CHECK_EQ(got, i);
  }
}

// Somebody else connects, again and again, where a clone connects to itself.
TESTEE(tcp_pair_is_no_strangers) {
  const Listening at(AF_INET);
  std::vector<Connection> all;
  for (int i = 0; i < 30; i++) all.emplace_back(at);
  const auto o = order();
  const pid_t stranger = fork();
  if (stranger == 0) {
    for (size_t k = 0;; k++) {
      const int fd = connect_to(text_of(o.addresses[k % o.addresses.size()]), at.port);
      if (fd >= 0 && send(fd, "strange", 7, MSG_NOSIGNAL) == 7) usleep(100);
      close(fd);
    }
  }
  clone_here(o);
  for (const Connection &c : all) {
    char text[8] = {};
    CHECK(send_bytes(c.client, "mine", 4) && recv(c.server, text, sizeof text, 0) == 4 &&
          !strcmp(text, "mine"));
  }
  if (outcome().index) return;
  wait_for_clones();
  kill(stranger, SIGKILL);
  CHECK(waitpid(stranger, nullptr, 0) == stranger);
}

TESTEE(tcp_pair_where_few_descriptors_are_left) {
  const Connection c(Listening(AF_INET));
  rlimit old;
  getrlimit(RLIMIT_NOFILE, &old);
  // Room for those of the engine's (two of them the frozen copy's), all pidfds and two that are opened for a moment.
  rlimit low{0, old.rlim_max};
  for (size_t room = 6 + order().addresses.size() + 2; room > 0; low.rlim_cur++)
    room -= fcntl((int)low.rlim_cur, F_GETFD) < 0;
  CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
  clone_here();
  CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
  char text[8] = {};
  CHECK(send_bytes(c.client, "mine", 4) && recv(c.server, text, sizeof text, 0) == 4 &&
        !strcmp(text, "mine"));
}
