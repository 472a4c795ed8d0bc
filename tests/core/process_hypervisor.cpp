// The process driver through a host, without the live clone engine: the test plays a master that clones itself, with its
// own children as clones.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <map>

#include "core/hypervisors/process_facts.hpp"
#include "tests/core/host_guest.hpp"

namespace {

struct Child {
  pid_t pid;
  int pidfd;
  int exit_code;  // a byte written here is the exit code of the process
};

// A process that stays until it is told to exit, is killed, or the test ends.
Child start_child() {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  // Dispositions are set before it exists, so that no signal can arrive too early.
  const auto before = std::signal(SIGTERM, SIG_DFL);
  const pid_t pid = fork();
  if (pid == 0) {
    close(ends[1]);
    unsigned char code = 0;
    [[maybe_unused]] const auto size = read(ends[0], &code, 1);
    _exit(code);
  }
  std::signal(SIGTERM, before);
  close(ends[0]);
  return {pid, static_cast<int>(syscall(SYS_pidfd_open, pid, 0)), ends[1]};
}

void tell_exit(const Child &child, unsigned char code) { CHECK(write(child.exit_code, &code, 1) == 1); }

void reap(const Child &child) {
  waitpid(child.pid, nullptr, 0);
  close(child.pidfd);
  close(child.exit_code);
}

std::vector<Child> start_children(int count) {
  std::vector<Child> children;
  for (int i = 0; i < count; ++i) children.push_back(start_child());
  return children;
}

std::vector<int> pidfds(const std::vector<Child> &children) {
  std::vector<int> fds;
  for (const Child &child : children) fds.push_back(child.pidfd);
  return fds;
}

// "4 fork plain 1@127.77.0.1 2@127.77.0.2" -> the addresses
std::vector<std::string> addresses_of(const std::string &order) {
  std::vector<std::string> addresses;
  for (std::size_t at = order.find('@'); at != std::string::npos; at = order.find('@', at + 1))
    addresses.push_back(order.substr(at + 1, order.find(' ', at) - at - 1));
  return addresses;
}

struct ProcessFamily {
  TestHost host{false, 8, "process"};
  Guest master = host.guest("attach mode=plain why=test");
  std::string ticket;

  std::string begin(int clones) {
    ticket = word_of(
        master.say("1 request_ticket " + std::to_string(clones) + " " + std::to_string(clones) + " 1 0"), 2);
    return master.say("2 clone " + ticket);
  }
};

// What happens to a connection to a clone's address: "answered" if it was accepted and kept.
std::string meet(const std::string &address, int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, address.c_str(), &a.sin_addr);
  std::string met = "answered";
  char byte;
  const bool met_nobody =
      connect(fd, reinterpret_cast<const sockaddr *>(&a), sizeof a) != 0 && errno == ECONNREFUSED;
  // It may be reset before connect() has returned.
  if (met_nobody)
    met = "nobody";
  else if (recv(fd, &byte, 1, 0) < 0)
    met = errno == ECONNRESET || errno == ENOTCONN ? "reset" : std::strerror(errno);
  close(fd);
  return met;
}

}  // namespace

TEST_CASE("a host that has run out of descriptors still sees a process's parent") {
  const gridcentric::SpareDescriptor spare;
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  std::vector<int> all;
  none.rlim_cur = 64;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  for (int fd; (fd = open("/dev/null", O_RDONLY)) >= 0;) all.push_back(fd);
  const int parent = gridcentric::parent_of(getpid());
  for (const int fd : all) close(fd);
  setrlimit(RLIMIT_NOFILE, &before);
  CHECK(parent == getppid());
}

TEST_CASE("process: the order, the pidfds, the ends and their status") {
  ProcessFamily family;
  const std::string order = family.begin(3);
  CHECK(order.starts_with("2 fork plain 1@127.77."));
  CHECK(addresses_of(order).size() == 3);
  const auto children = start_children(3);
  const auto fds = pidfds(children);
  family.master.write_with("2 pidfds 2\n", {fds[0], fds[1]});
  family.master.write_with("2 pidfds 1\n", {fds[2]});
  CHECK(family.master.say("2 forked 3") == "2 ok 0");
  const auto domains = family.master.list("3 list_domains");
  REQUIRE(domains.size() == 5);
  CHECK(word_of(domains[0], 4) == "127.0.0.1");
  CHECK(word_of(domains[3], 4) == addresses_of(order)[2]);

  CHECK(family.master.say("4 kill 2") == "4 ok");
  tell_exit(children[0], 7);
  kill(children[2].pid, SIGTERM);
  const auto results = family.master.list("5 wait " + family.ticket + " -1");
  REQUIRE(results.size() == 4);
  CHECK(results[0] == "5 item 1 exited 7 -");
  CHECK(results[1] == "5 item 2 killed 9 -");
  CHECK(results[2] == "5 item 3 killed 15 -");
  for (const Child &child : children) reap(child);

  // Addresses that were used most recently come last.
  const std::string next = family.begin(3);
  for (const std::string &address : addresses_of(next)) CHECK(order.find(address + " ") == std::string::npos);
  CHECK(family.master.say("2 failed 11 no more room") == "2 error clone_failed no more room");
}

TEST_CASE("process: the ports of a clone are kept from others until its family has ended") {
  ProcessFamily family;
  const std::string order = family.begin(2);
  const auto children = start_children(2);
  const auto address = addresses_of(order);
  family.master.write_with("2 pidfds 2\n", pidfds(children));
  family.master.write_some("2 bound tcp4 7077\n2 bound tcp4 7077\n2 bound udp6 7078\n");
  CHECK(family.master.say("2 forked 2") == "2 ok 0");
  CHECK(meet(address[0], 7077) == "reset");
  CHECK(meet(address[1], 7077) == "reset");
  CHECK(meet(address[1], 7078) == "nobody");
  CHECK(family.master.say("3 kill 1") == "3 ok");
  CHECK(family.master.say("4 kill 2") == "4 ok");
  family.master.list("5 wait " + family.ticket + " -1");
  for (const Child &child : children) reap(child);
  CHECK(meet(address[0], 7077) == "reset");
}

TEST_CASE("process: invalid bound ports") {
  for (const std::string bad : {"tcp4 0", "tcp4 65536", "tcp5 80", "tcp4 80x", "tcp 80", "tcp4 -1"}) {
    ProcessFamily family;
    family.begin(1);
    CAPTURE(bad);
    CHECK(error_of(family.master.say("2 bound " + bad)) == "2 error clone_failed");
    CHECK(family.master.say("3 ticket_info " + family.ticket) == "3 ok " + family.ticket + " reserved 1 1 1");
  }
  ProcessFamily family;
  CHECK(error_of(family.master.say("9 bound tcp4 80")) == "9 error protocol");
}

TEST_CASE("process: a failed clone gives the ticket back and leaves nothing") {
  ProcessFamily family;
  CHECK(family.begin(2).starts_with("2 fork "));
  CHECK(family.master.say("2 failed 95 io_uring is in use") == "2 error not_supported io_uring is in use");
  const auto again = [&] { return family.master.say("2 clone " + family.ticket); };

  SUBCASE("fewer clones than ordered") {
    CHECK(again().starts_with("2 fork "));
    const auto children = start_children(1);
    family.master.write_with("2 pidfds 1\n", pidfds(children));
    CHECK(error_of(family.master.say("2 forked 2")) == "2 error clone_failed");
    reap(children[0]);  // it was killed
  }
  SUBCASE("fewer descriptors than announced") {
    CHECK(again().starts_with("2 fork "));
    CHECK(error_of(family.master.say("2 pidfds 1")) == "2 error clone_failed");
  }
  SUBCASE("not a pidfd") {
    CHECK(again().starts_with("2 fork "));
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    family.master.write_with("2 pidfds 2\n", {ends[0], ends[1]});
    CHECK(error_of(family.master.say("2 forked 2")) == "2 error clone_failed");
    close(ends[0]);
    close(ends[1]);
  }
  SUBCASE("the guest cancels it") {
    CHECK(again().starts_with("2 fork "));
    const auto children = start_children(1);
    family.master.write_with("2 pidfds 1\n", pidfds(children));
    CHECK(family.master.say("3 cancel 2") == "3 ok");
    reap(children[0]);
    CHECK(error_of(family.master.say("4 ticket_info " + family.ticket)) == "4 error no_such_ticket");
    return;
  }
  CHECK(family.master.say("5 ticket_info " + family.ticket) == "5 ok " + family.ticket + " reserved 2 2 1");
  CHECK(family.master.list("6 list_domains").size() == 2);
}

TEST_CASE("process: answers without an order, and a child of the domain that clones") {
  ProcessFamily family;
  CHECK(error_of(family.master.say("7 forked 3")) == "7 error protocol");
  CHECK(error_of(family.master.say("7 failed 5 x y")) == "7 error protocol");
  family.ticket = word_of(family.master.say("1 request_ticket 1 1 1 0"), 2);
  int told[2];
  REQUIRE(pipe(told) == 0);
  const pid_t child = fork();
  if (child == 0) {
    Guest guest(family.host.path, "ask");
    const std::string reply = error_of(guest.say("1 clone " + family.ticket)) + "\n";
    _exit(write(told[1], reply.data(), reply.size()) > 0 ? 0 : 1);
  }
  waitpid(child, nullptr, 0);
  char reply[128] = {};
  CHECK(read(told[0], reply, sizeof reply - 1) > 0);
  CHECK(std::string(reply) == "1 error not_supported\n");
  close(told[0]);
  close(told[1]);
}

TEST_CASE("process: clones that are left end with the host") {
  std::vector<Child> children;
  {
    ProcessFamily family;
    CHECK(family.begin(2).starts_with("2 fork "));
    children = start_children(2);
    family.master.write_with("2 pidfds 2\n", pidfds(children));
    CHECK(family.master.say("2 forked 2") == "2 ok 0");
  }
  for (const Child &child : children) {
    int status = 0;
    CHECK(waitpid(child.pid, &status, 0) == child.pid);
    CHECK(WTERMSIG(status) == SIGKILL);
    close(child.pidfd);
    close(child.exit_code);
  }
}
