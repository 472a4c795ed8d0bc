// The client with a scripted host: what each call sends, how it handles each answer, and what it does if there is none.
#include <dirent.h>
#include <doctest/doctest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <chrono>
#include <optional>

#include "core/guest/client.hpp"
#include "tests/core/guest_peer.hpp"

using namespace gridcentric;

namespace {

const std::string uuid = "8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11";

int code_of(const std::function<void()> &call) {
  try {
    call();
  } catch (const guest::Error &error) {
    CHECK_FALSE(error.text.empty());
    return error.code;
  }
  return GC_OK;
}

// Every call that waits for an answer, with the line that it must send.
struct Case {
  std::string line;
  std::function<void(guest::Call *)> call;
};

std::vector<Case> all_calls() {
  return {
      {"1 request_ticket 4 2 1 -1", [](guest::Call *c) { guest::request_ticket(4, 2, 1, -1, c); }},
      {"1 release_ticket " + uuid, [](guest::Call *c) { guest::release_ticket(uuid, c); }},
      {"1 list_tickets", [](guest::Call *c) { guest::list_tickets(c); }},
      {"1 ticket_info " + uuid, [](guest::Call *c) { guest::ticket_info(uuid, c); }},
      {"1 clone " + uuid, [](guest::Call *c) { guest::clone(uuid, c); }},
      {"1 list_domains", [](guest::Call *c) { guest::list_domains(c); }},
      {"1 sync " + uuid + " 50", [](guest::Call *c) { guest::sync(uuid, 50, c); }},
      {"1 sync - -1", [](guest::Call *c) { guest::sync(std::nullopt, -1, c); }},
      {"1 join aGk=", [](guest::Call *c) { guest::join("hi", c); }},
      {"1 join =", [](guest::Call *c) { guest::join("", c); }},
      {"1 join -", [](guest::Call *c) { guest::join(std::nullopt, c); }},
      {"1 wait " + uuid + " 0", [](guest::Call *c) { guest::wait(uuid, 0, c); }},
      {"1 kill 7", [](guest::Call *c) { guest::kill(7, c); }},
      {"1 info", [](guest::Call *c) { guest::host_info(c); }},
  };
}

void answer(const std::string &text) {
  Peer::instance().play([text](const std::string &line) { return line.starts_with("1 ") ? text : ""; });
}

}  // namespace

int count_descriptors() {
  DIR *folder = ::opendir("/proc/self/fd");
  int count = -3;  // ".", ".." and the folder itself
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

TEST_CASE("each call sends its line and reports the host's error unchanged") {
  for (const auto &each : all_calls()) {
    CAPTURE(each.line);
    for (const auto &row : guest::error_table()) {
      answer(std::string("1 error ") + row.word + " because of that\n");
      try {
        each.call(nullptr);
        FAIL("no error");
      } catch (const guest::Error &error) {
        CHECK(error.code == row.code);
        CHECK(error.text == "because of that");
      }
      CHECK(Peer::instance().lines().back() == each.line);
    }
  }
}

TEST_CASE("answers become structs") {
  answer("1 item " + uuid + " reserved 4 2 2\n1 item " + uuid + " closed 1 1 1\n1 ok 2\n");
  const auto tickets = guest::list_tickets();
  REQUIRE(tickets.size() == 2);
  CHECK(tickets[0].id == uuid);
  CHECK(tickets[0].status == GC_TICKET_RESERVED);
  CHECK(tickets[0].cpus == 4);
  CHECK(tickets[0].vms == 2);
  CHECK(tickets[0].mincpuspervm == 2);
  CHECK(tickets[1].status == GC_TICKET_CLOSED);

  answer("1 item 0 - 10.77.0.1 " + uuid + " running\n1 item 3 0 10.77.0.4 " + uuid + " ending\n1 ok 2\n");
  const auto domains = guest::list_domains();
  REQUIRE(domains.size() == 2);
  CHECK(domains[0].parent == -1);
  CHECK(domains[1].vmid == 3);
  CHECK(domains[1].parent == 0);
  CHECK(domains[1].ip == "10.77.0.4");
  CHECK(domains[1].state == "ending");

  answer(
      "1 item 1 joined 0 AAEK\n1 item 2 joined 0 =\n1 item 3 exited 7 -\n1 item 4 killed 9 -\n1 item 5 lost "
      "0 -\n1 ok 5\n");
  const auto results = guest::wait(uuid, -1);
  REQUIRE(results.size() == 5);
  CHECK(results[0].report == std::string("\0\1\n", 3));
  CHECK(results[1].report == "");
  CHECK(results[2].report == std::nullopt);
  CHECK(results[2].how == GC_END_EXITED);
  CHECK(results[2].status == 7);
  CHECK(results[3].how == GC_END_KILLED);
  CHECK(results[4].how == GC_END_LOST);

  answer("1 ok " + uuid + "\n");
  CHECK(guest::request_ticket(1, 1, 1, 0) == uuid);
  CHECK(guest::vmid() == 0);
  CHECK(guest::ismaster());
  CHECK(guest::my_ip() == "10.77.0.1");
}

TEST_CASE("a malformed answer is a protocol error, never a hang or a guess") {
  const std::string bad_lists[] = {"1 ok\n",
                                   "1 ok 1\n",
                                   "1 ok x\n",
                                   "1 item a b\n1 ok 1\n",
                                   "1 item " + uuid + " odd 1 1 1\n1 ok 1\n",
                                   "1 item " + uuid + " closed 1 1\n1 ok 1\n",
                                   "1 item " + uuid + " closed 1 1 99999999999\n1 ok 1\n",
                                   "1 item " + uuid + " closed 1 1 01\n1 ok 1\n",
                                   "7 ok 0\n",
                                   "1 what 0\n",
                                   "1\n",
                                   "\n",
                                   "1  ok\n",
                                   "1 error nonsense text\n",
                                   "1 error\n",
                                   "0 error\n",
                                   "\xff\xfe\n"};
  for (const auto &bad : bad_lists) {
    CAPTURE(bad);
    answer(bad);
    CHECK(code_of([] { guest::list_tickets(); }) == GC_E_PROTOCOL);
  }
  answer("1 item 1 joined 0 %%%\n1 ok 1\n");
  CHECK(code_of([] { guest::wait(uuid, 0); }) == GC_E_PROTOCOL);
  answer("0 error too_large the line was too long\n");
  CHECK(code_of([] { guest::list_tickets(); }) == GC_E_TOO_LARGE);
  answer(std::string(1'500'000, 'x'));
  CHECK(code_of([] { guest::list_tickets(); }) == GC_E_PROTOCOL);
  answer("1 ok 0\n");
  CHECK(guest::list_tickets().empty());  // the next call works
}

TEST_CASE("an invalid ticket never reaches the host") {
  answer("1 ok\n");
  for (const std::string bad :
       {"", "x", "8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11\n2 kill 1", "8A1F0F0E-6D0E-4C36-8DF0-9B7A0F6A2F11"}) {
    CHECK(code_of([&] { guest::release_ticket(bad); }) == GC_E_INVALID_ARGUMENT);
    CHECK(code_of([&] { guest::clone(bad); }) == GC_E_INVALID_ARGUMENT);
    CHECK(code_of([&] { guest::sync(bad, 0); }) == GC_E_INVALID_ARGUMENT);
  }
  CHECK(code_of([] { guest::join(std::string(1024 * 1024 + 1, 'x')); }) == GC_E_TOO_LARGE);
  CHECK(Peer::instance().lines().empty());
}

TEST_CASE("a host that ends in the middle of a call is unreachable, and nothing leaks") {
  answer("1 ok 0\n");
  guest::list_tickets();
  const int before = count_descriptors();
  for (const auto &each : all_calls()) {
    CAPTURE(each.line);
    answer(Peer::hang_up);
    CHECK(code_of([&] { each.call(nullptr); }) == GC_E_HOST_UNREACHABLE);
    answer("1 item half");
    std::thread dier([&] {
      Peer::instance().await_line(each.line);
      Peer::instance().drop_all();
    });
    CHECK(code_of([&] { each.call(nullptr); }) == GC_E_HOST_UNREACHABLE);
    dier.join();
  }
  answer("1 ok 0\n");
  guest::list_tickets();
  while (Peer::instance().open_connections() > 1)
    std::this_thread::yield();  // the peer notices a moment later that they are closed
  CHECK(count_descriptors() <= before);
}

TEST_CASE("a host that refuses the handshake says why") {
  Peer::instance().drop_all();
  while (Peer::instance().open_connections() > 0) std::this_thread::yield();
  const auto greet = [](const std::string &text) {
    Peer::instance().play(
        [text](const std::string &line) { return line.starts_with("gridcentric/1 ") ? text : "1 ok 0\n"; });
    return code_of([] { guest::list_tickets(); });
  };
  CHECK(greet("gridcentric/1 error not_in_domain you are nobody\n") == GC_E_NOT_IN_DOMAIN);
  CHECK(greet("gridcentric/1 error protocol gridcentric/2 only\n") == GC_E_PROTOCOL);
  CHECK(greet("HTTP/1.1 400 Bad Request\n") == GC_E_PROTOCOL);
  CHECK(greet("gridcentric/1 ok short\n") == GC_E_PROTOCOL);
  CHECK(greet(Peer::hang_up) == GC_E_HOST_UNREACHABLE);
  CHECK(greet(Peer::greeting) == GC_OK);
}

TEST_CASE("another thread cancels a call, and its connection is used again") {
  const auto script = [](const std::string &line) {
    return line == "2 cancel 1" ? std::string("2 ok\n") : std::string();
  };
  for (const auto &each : all_calls()) {
    CAPTURE(each.line);
    Peer::instance().play(script);
    guest::Call call;
    std::thread canceller([&] {
      Peer::instance().await_line(each.line);
      call.cancel();
    });
    CHECK(code_of([&] { each.call(&call); }) == guest::error_cancelled);
    canceller.join();
    CHECK(call.cancelled());
    CHECK(Peer::instance().lines().back() == "2 cancel 1");
    CHECK(code_of([&] { each.call(&call); }) ==
          guest::error_cancelled);  // it stays cancelled: nothing is sent
    CHECK(Peer::instance().lines().back() == "2 cancel 1");
  }
  CHECK(Peer::instance().open_connections() == 1);
}

TEST_CASE("a call is cancelled while the host does not even read its line") {
  answer("1 ok 0\n");
  CHECK(guest::list_tickets().empty());  // there is a connection
  const int before = count_descriptors();
  int hooks = 0;
  {
    guest::Call call;
    call.on_wait_interrupted = [&] { return ++hooks == 2; };
    const auto stopped = Peer::instance().stopped();
    CHECK(code_of([&] { guest::join(std::string(1024 * 1024, 'x'), &call); }) == guest::error_cancelled);
  }
  CHECK(hooks == 2);
  CHECK(guest::list_tickets().empty());  // on a new one
  while (count_descriptors() > before)
    std::this_thread::yield();  // the peer notices that the old one is closed
}

TEST_CASE("a ticket that was granted while the cancel was on its way is released") {
  Peer::instance().play([](const std::string &line) -> std::string {
    if (line == "2 cancel 1") return "1 ok " + uuid + "\n2 ok\n";
    return line.starts_with("1 release_ticket") ? "1 ok\n" : "";
  });
  guest::Call call;
  std::thread canceller([&] {
    Peer::instance().await_line("1 request_ticket 4 2 1 -1");
    call.cancel();
  });
  CHECK(code_of([&] { guest::request_ticket(4, 2, 1, -1, &call); }) == guest::error_cancelled);
  canceller.join();
  CHECK(Peer::instance().lines().back() == "1 release_ticket " + uuid);

  for (const int vmid : {0, 7}) {  // in the caller, in a clone
    Peer::instance().play([=](const std::string &line) {
      return line == "2 cancel 1" ? "1 ok " + std::to_string(vmid) + "\n2 ok\n" : std::string();
    });
    guest::Call clone_call;
    std::thread late([&] {
      Peer::instance().await_line("1 clone " + uuid);
      clone_call.cancel();
    });
    CHECK(guest::clone(uuid, &clone_call) == vmid);  // the clones are there: the cancel came too late
    late.join();
  }
}

TEST_CASE("a signal interrupts a wait only if its hook says so") {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &action, nullptr);
  std::atomic<int> hooks{0};
  const pthread_t waiter = ::pthread_self();
  const auto interrupt_once_waiting = [&](const std::string &line, int until) {
    return std::thread([&hooks, waiter, line, until] {
      Peer::instance().await_line(line);
      while (hooks < until) {
        ::pthread_kill(waiter, SIGUSR1);
        std::this_thread::yield();
      }
    });
  };
  const auto script = [](const std::string &line) {
    return line == "2 cancel 1" ? std::string("2 ok\n") : std::string();
  };

  Peer::instance().play(script);
  guest::Call gives_up;
  gives_up.on_wait_interrupted = [&] { return ++hooks == 3; };
  auto signals = interrupt_once_waiting("1 sync - -1", 3);
  CHECK(code_of([&] { guest::sync(std::nullopt, -1, &gives_up); }) == guest::error_cancelled);
  signals.join();
  CHECK(hooks == 3);
  CHECK(Peer::instance().lines().back() == "2 cancel 1");

  Peer::instance().play(script);
  hooks = 0;
  guest::Call throws;
  throws.on_wait_interrupted = [&]() -> bool {
    ++hooks;
    throw 42;
  };
  signals = interrupt_once_waiting("1 sync - -1", 1);
  CHECK_THROWS_AS(guest::sync(std::nullopt, -1, &throws), int);
  signals.join();
  CHECK(Peer::instance().lines().back() == "2 cancel 1");
}

TEST_CASE("a forked child belongs to the same domain, on its own connections") {
  Peer::instance().play([](const std::string &line) {
    return line.starts_with("1 list") ? std::string("1 ok 0\n") : std::string();
  });
  CHECK(guest::list_tickets().empty());
  Peer::instance().play([](const std::string &line) {
    return line.starts_with("1 list") ? std::string("1 ok 0\n") : std::string();
  });
  const pid_t child = ::fork();
  if (child == 0) {
    const bool right = guest::vmid() == 0 && guest::list_domains().empty() && guest::generation() == 0;
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(Peer::instance().lines() == std::vector<std::string>{"gridcentric/1 ask", "1 list_domains"});
  CHECK(guest::list_tickets().empty());
  CHECK(Peer::instance().lines().back() == "1 list_tickets");  // on its old connection
}

TEST_CASE("a process copied behind the library's back asks the host who it is") {
  CHECK(guest::vmid() == 0);
  Peer::instance().drop_all();
  Peer::instance().play([](const std::string &line) -> std::string {
    if (line.starts_with("gridcentric/1 "))
      return "gridcentric/1 ok 11111111-1111-4111-8111-111111111111 5 10.77.0.6 0 fake\n";
    return "1 ok 0\n";
  });
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child == 0)
    ::_exit(guest::vmid() == 5 && guest::my_ip() == "10.77.0.6" && guest::generation() == 1 ? 0 : 1);
  int status = -1;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(guest::vmid() == 0);
}

TEST_CASE("64 threads call at once; every reply finds its call") {
  Peer::instance().play([](const std::string &line) -> std::string {
    if (line.starts_with("1 kill ")) return "1 error no_such_domain " + line.substr(7) + "\n";
    return line.starts_with("1 ") ? "1 ok 0\n" : "";
  });
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 64; ++thread) {
    threads.emplace_back([&right, thread] {
      for (int round = 0; round < 50; ++round) {
        const int vmid = 1000 * thread + round + 1;
        try {
          guest::kill(vmid);
        } catch (const guest::Error &error) {
          if (error.code == GC_E_NO_SUCH_DOMAIN && error.text == std::to_string(vmid)) ++right;
        }
      }
    });
  }
  for (auto &thread : threads) thread.join();
  CHECK(right == 64 * 50);
}
