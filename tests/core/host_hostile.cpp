// Guests that do everything wrong: the host reports it, goes on, and serves the others meanwhile.
#include <dirent.h>

#include <random>

#include "tests/core/host_guest.hpp"

namespace {

std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR *folder = opendir("/proc/self/fd");
  while (readdir(folder)) ++count;
  closedir(folder);
  return count;
}

// Waits until the host has noticed that guests are gone, which its ledger shows.
void await_quiet(Guest &control, std::size_t lines) {
  while (control.list("1 dump").size() != lines) {
  }
}

}  // namespace

TEST_CASE("garbage is refused and the connection goes on") {
  TestHost host;
  Guest guest = host.guest("observe");
  for (const auto *bad : {"", " ", "x", "no id", "-1 info", "1234567890 info"})
    CHECK(error_of(guest.say(bad)) == "0 error protocol");
  for (const auto *bad : {"1", "1 ", "1 nonsense", "1  info", "1 info x", "1 info\r", "1 reset"})
    CHECK(error_of(guest.say(bad)) == "1 error protocol");
  std::mt19937 random(5);
  std::string bytes;
  for (int i = 0; i < 200'000; ++i) bytes += static_cast<char>(random());
  guest.write(bytes);
  guest.write("\n");
  Guest other = host.guest("observe");
  CHECK(other.list("1 info").back() == "1 ok 11");
}

TEST_CASE("lines that are too long end the connection with a reason") {
  TestHost host;
  Guest hello(host.path);
  hello.write(std::string(5'000, 'x'));
  CHECK(error_of(hello.read()) == "gridcentric/1 error too_large");
  Guest observer = host.guest("observe");
  observer.write("1 info " + std::string(5'000, 'x'));
  CHECK(error_of(observer.read()) == "0 error too_large");
  CHECK(observer.read() == "<closed>");
  Guest master = host.guest("attach");
  master.write("1 join " + std::string(1'400'000, 'A'));
  CHECK(error_of(master.read()) == "0 error too_large");
  CHECK(master.read() == "<closed>");
}

TEST_CASE("a report of 1 MiB arrives, one byte more does not") {
  TestHost host;
  Guest master = host.guest("attach");
  const std::string family = word_of(master.greeting, 2);
  const std::string ticket = word_of(master.say("1 request_ticket 1 1 1 0"), 2);
  master.say("2 clone " + ticket);
  Guest clone = host.guest("as " + family + " 1");
  const std::string report = std::string((1 << 20) / 3 * 4, 'A') + "QQ==";  // 1,048,575 + 1 bytes
  CHECK(error_of(clone.say("1 join " + report.substr(0, report.size() - 4) + "AAAA")) == "1 error too_large");
  CHECK(clone.say("2 join " + report) == "2 ok");
  CHECK(master.say("3 wait " + ticket + " -1") == "3 item 1 joined 0 " + report);
}

TEST_CASE("of 1,100 calls at once 1,024 are accepted") {
  TestHost host;
  Guest control = host.guest("control"), master = host.guest("attach");
  master.say("0 request_ticket 8 8 1 0");
  std::string lines;
  for (int i = 1; i <= 1'100; ++i) lines += std::to_string(i) + " request_ticket 1 1 1 -1\n";
  master.write(lines);
  for (int i = 1'025; i <= 1'100; ++i)
    CHECK(error_of(master.read()) == std::to_string(i) + " error too_large");
  CHECK(control.list("1 dump")[1] == "1 item queue 1024");
  master.hang_up();
  await_quiet(control, 6);  // cpus, queue, the two tickets that are left, the domain, ok
}

TEST_CASE("a guest that does not read is not read from, and does not disturb others") {
  TestHost host;
  Guest slow = host.guest("observe"), quick = host.guest("observe");
  std::string flood;
  for (int i = 0; i < 1'000; ++i) flood += "1 info\n";
  // Until the host stops reading: it reads nothing although it is idle, as answers to another guest prove.
  std::size_t sent = 0;
  for (int refused = 0; refused < 50;) {
    const std::size_t size = slow.write_some(flood);
    sent += size;
    refused = size == 0 ? refused + 1 : 0;
    CHECK(quick.list("1 info").back() == "1 ok 11");
    REQUIRE(sent < 100'000'000);
  }
  // When the guest reads at last, it gets every answer.
  std::size_t answers = 0;
  for (std::size_t i = 0; i < sent / 7; ++i) {
    std::string line;
    do line = slow.read();
    while (line.find(" item ") != std::string::npos);
    answers += line == "1 ok 11";
  }
  CHECK(answers == sent / 7);
}

TEST_CASE("a guest that hangs up in the middle of each call leaves nothing") {
  TestHost host;
  Guest control = host.guest("control");
  const std::size_t before = open_descriptors();
  for (const std::string call : {"request_ticket 8 8 1 -1", "sync TICKET -1", "wait TICKET -1", "clone FRESH",
                                 "join AAAA", "sync TICKET", "whoami", "list_dom"}) {
    CAPTURE(call);
    Guest master = host.guest("attach");
    const std::string ticket = word_of(master.say("1 request_ticket 2 2 1 0"), 2);
    const std::string fresh = word_of(master.say("2 request_ticket 1 1 1 0"), 2);
    CHECK(master.say("3 clone " + ticket) == "3 ok 0");
    control.say("1 latency clone 1000");
    std::string line = call;
    if (const auto at = line.find("TICKET"); at != std::string::npos) line.replace(at, 6, ticket);
    if (const auto at = line.find("FRESH"); at != std::string::npos) line.replace(at, 5, fresh);
    const bool waits = call.find("-1") != std::string::npos || call.starts_with("clone");
    const bool whole = !call.starts_with("sync TICKET") || waits;
    Guest quitter = host.guest("attach");
    quitter.write("9 " + line + (whole && call != "list_dom" ? "\n" : ""));
    if (waits) CHECK(control.say("2 await " + call.substr(0, call.find(' ')) + " 1") == "2 ok");
    quitter.hang_up();
    if (waits) {
      const bool cloning = call.starts_with("clone");
      // cpus, queue, 3 tickets (one less: that of the clone was released), 3 domains, ok
      await_quiet(control, cloning ? 8 : 9);
    }
    CHECK(master.list("5 list_domains").size() == 4);
    CHECK(control.say("3 reset") == "3 ok");
    CHECK(master.read() == "<closed>");
  }
  Guest last = host.guest("observe");
  last.list("1 info");
  last.hang_up();
  control.say("4 now");
  while (open_descriptors() > before) control.say("4 now");
  CHECK(open_descriptors() == before);
}

TEST_CASE("descriptors that nobody asked for are closed") {
  TestHost host;
  Guest control = host.guest("control");
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  Guest guest(host.path);
  guest.write_with("gridcentric/1 attach\n7 pidfds 1\n7 forked 1\n7 failed 5 no reason\n", {ends[1]});
  close(ends[1]);
  char byte;
  CHECK(read(ends[0], &byte, 1) == 0);  // the host's copy was the last one
  close(ends[0]);
  CHECK(guest.read().starts_with("gridcentric/1 ok "));
  for (int i = 0; i < 3; ++i) CHECK(error_of(guest.read()) == "7 error protocol");
}
