// The host over a real socket: handshake, calls, the control channel. The rules themselves are tested in model_*.cpp.
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/core/host_guest.hpp"

TEST_CASE("a family from attach to join") {
  TestHost host;
  Guest control = host.guest("control"), master = host.guest("attach name=my%20test");
  const std::string family = word_of(master.greeting, 2);
  CHECK(master.greeting == "gridcentric/1 ok " + family + " 0 10.77.0.1 - fake");
  const std::string ticket = word_of(master.say("1 request_ticket 3 2 1 1000"), 2);
  CHECK(master.say("2 clone " + ticket) == "2 ok 0");
  Guest one = host.guest("as " + family + " 1"), two = host.guest("as " + family + " 2"),
        three = host.guest("as " + family + " 3");
  CHECK(two.greeting == "gridcentric/1 ok " + family + " 2 10.77.0.3 0 fake");
  CHECK(two.say("1 whoami") == "1 ok " + family + " 2 10.77.0.3 0 " + ticket + " running");
  CHECK(master.list("3 list_tickets").size() == 3);
  const auto domains = master.list("4 list_domains");
  REQUIRE(domains.size() == 5);
  CHECK(domains[1] == "4 item 1 0 10.77.0.2 " + ticket + " running");
  CHECK(domains[4] == "4 ok 4");

  one.write("2 sync - -1\n");
  two.write("2 sync - -1\n");
  three.write("2 sync - -1\n");
  CHECK(control.say("1 await sync 3") == "1 ok");
  CHECK(master.say("5 sync " + ticket + " -1") == "5 ok");
  for (Guest *clone : {&one, &two, &three}) CHECK(clone->read() == "2 ok");

  master.write("6 wait " + ticket + " -1\n");
  CHECK(one.say("3 join aGVsbG8=") == "3 ok");
  CHECK(one.read() == "<closed>");
  CHECK(two.say("3 join =") == "3 ok");
  CHECK(master.say("7 kill 3") == "7 ok");
  CHECK(three.read() == "<closed>");
  CHECK(master.read() == "6 item 1 joined 0 aGVsbG8=");
  CHECK(master.read() == "6 item 2 joined 0 =");
  CHECK(master.read() == "6 item 3 killed 9 -");
  CHECK(master.read() == "6 ok 3");
  CHECK(master.say("8 ticket_info " + ticket) == "8 ok " + ticket + " closed 3 3 1");

  Guest observer = host.guest("observe");
  CHECK(observer.greeting == "gridcentric/1 ok - - - - fake");
  const auto all = observer.list("1 list_all");
  REQUIRE(all.size() == 2);
  CHECK(all[0].ends_with(" " + std::to_string(getpid()) + " 0 my%20test"));
  CHECK(error_of(observer.say("2 whoami")) == "2 error not_in_domain");
  CHECK(observer.say("3 kill_domain " + family + " 0") == "3 ok");
  CHECK(master.read() == "<closed>");
}

TEST_CASE("the virtual clock runs what is due in order of time") {
  TestHost host;
  Guest control = host.guest("control"), master = host.guest("attach");
  const std::string ticket = word_of(master.say("1 request_ticket 8 8 1 0"), 2);
  CHECK(error_of(master.say("2 request_ticket 1 1 1 0")) == "2 error timed_out");
  master.write("3 request_ticket 1 1 1 300\n4 request_ticket 1 1 1 200\n");
  CHECK(control.say("1 await request_ticket 2") == "1 ok");
  CHECK(control.say("2 advance 199") == "2 ok 199");
  CHECK(control.say("3 advance 1") == "3 ok 200");
  CHECK(error_of(master.read()) == "4 error timed_out");
  CHECK(control.say("4 advance 1000") == "4 ok 1200");
  CHECK(error_of(master.read()) == "3 error timed_out");
  CHECK(control.say("5 latency clone 500") == "5 ok");
  master.write("5 clone " + ticket + "\n");
  CHECK(control.say("6 await clone 1") == "6 ok");
  CHECK(control.list("7 domains")[1].ends_with(" starting"));
  CHECK(control.say("8 advance 500") == "8 ok 1700");
  CHECK(master.read() == "5 ok 0");
  CHECK(error_of(control.say("9 advance 9007199254740992")) == "9 error invalid_argument");
  CHECK(control.say("10 now") == "10 ok 1700");
}

TEST_CASE("scripted faults") {
  TestHost host;
  Guest control = host.guest("control"), master = host.guest("attach");
  const std::string ticket = word_of(master.say("1 request_ticket 4 4 1 0"), 2);
  CHECK(control.say("1 fault clone_fails 2 the disk is full") == "1 ok");
  CHECK(control.say("2 fault host_full no room") == "2 ok");
  CHECK(control.say("3 fault clone_dies 4") == "3 ok");
  CHECK(master.say("2 clone " + ticket) == "2 error clone_failed clone 2 of 4: the disk is full");
  CHECK(master.say("3 clone " + ticket) == "3 error clone_failed no room");
  CHECK(master.say("4 clone " + ticket) == "4 ok 0");
  CHECK(master.list("5 list_domains").size() == 5);  // the fourth has ended
  CHECK(control.say("4 fault drop_reply whoami") == "4 ok");
  CHECK(master.say("6 whoami") == "<closed>");
  Guest again = host.guest("attach");
  CHECK(again.say("1 whoami") != "<closed>");
  CHECK(control.say("5 fault restart") == "5 ok");
  CHECK(again.read() == "<closed>");
  CHECK(control.list("6 dump").size() == 3);
  for (const auto *bad : {"fault", "fault nonsense", "fault clone_fails 0 x", "fault drop_reply nothing",
                          "latency sync 1", "await whoami 1", "end x 0 exited 0", "advance -1"})
    CHECK(error_of(control.say(std::string("7 ") + bad)).starts_with("7 error "));
}

TEST_CASE("after reset the host repeats its history") {
  TestHost host;
  Guest control = host.guest("control");
  std::string first;
  for (int i = 0; i < 3; ++i) {
    Guest master = host.guest("attach");
    const std::string history = master.greeting + master.say("1 request_ticket 4 4 1 0");
    if (first.empty()) first = history;
    CHECK(history == first);
    CHECK(control.say("1 reset") == "1 ok");
    CHECK(master.read() == "<closed>");
  }
}

TEST_CASE("cancel ends a call without a reply") {
  TestHost host;
  Guest control = host.guest("control"), master = host.guest("attach");
  master.say("1 request_ticket 8 8 1 0");
  master.write("2 request_ticket 1 1 1 -1\n");
  CHECK(error_of(master.say("2 info")) == "2 error protocol");  // the ID is in use
  CHECK(master.say("3 cancel 2") == "3 ok");
  CHECK(master.say("4 cancel 2") == "4 ok");
  CHECK(error_of(master.say("5 cancel x")) == "5 error invalid_argument");
  CHECK(control.list("1 dump")[1] == "1 item queue 0");
  CHECK(master.say("2 cancel 3") == "2 ok");  // the ID is free again
}

TEST_CASE("which roles may connect") {
  TestHost tests, plain(false);
  CHECK(error_of(plain.guest("control").greeting) == "gridcentric/1 error not_supported");
  CHECK(error_of(plain.guest("as 00000000-0000-4000-8000-000000000000 0").greeting) ==
        "gridcentric/1 error not_supported");
  CHECK(error_of(plain.guest("ask").greeting) == "gridcentric/1 error not_in_domain");
  CHECK(error_of(tests.guest("as 00000000-0000-4000-8000-000000000000 0").greeting) ==
        "gridcentric/1 error no_such_domain");
  CHECK(error_of(tests.guest("as x 0").greeting) == "gridcentric/1 error invalid_argument");
  Guest other(tests.path);
  CHECK(error_of(other.say("gridcentric/9 attach")) == "gridcentric/1 error protocol");
  CHECK(other.read() == "<closed>");
  Guest master = plain.guest("attach"), same = plain.guest("ask");
  CHECK(same.greeting == master.greeting);
  CHECK(plain.guest("lifeline " + word_of(master.greeting, 2)).greeting == "gridcentric/1 ok - - - - fake");
  struct stat status;
  REQUIRE(stat(plain.path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("a living host's socket is not taken, a dead one's is") {
  TestHost host;
  gridcentric::HostOptions options;
  options.socket = host.path;
  options.hypervisor = "fake";
  options.handle_signals = options.print_listening = false;
  std::string error;
  CHECK(gridcentric::run_host(options, &error) == 1);
  CHECK(error.find("already") != std::string::npos);
  options.hypervisor = "magic";
  CHECK(gridcentric::run_host(options, &error) == 2);
  options.hypervisor = "fake";
  options.socket = "/tmp/" + std::string(200, 'x');
  CHECK(gridcentric::run_host(options, &error) == 1);

  // What a killed host leaves behind.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  options.socket = host.path + ".dead";
  std::memcpy(address.sun_path, options.socket.data(), options.socket.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0);
  close(fd);
  options.on_ready = [](const std::string &, std::function<void()> stop) { stop(); };
  CHECK(gridcentric::run_host(options, &error) == 0);
  CHECK(access(options.socket.c_str(), F_OK) != 0);
}

TEST_CASE("a private host writes its path and ends with its family") {
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  gridcentric::HostOptions options;
  options.hypervisor = "fake";
  options.private_fd = ends[1];
  options.handle_signals = false;
  std::string error;
  int result = -1;
  std::thread thread([&] { result = gridcentric::run_host(options, &error); });
  std::string path;
  for (char byte; read(ends[0], &byte, 1) == 1 && byte != '\n';) path += byte;
  struct stat status;
  REQUIRE(stat(path.substr(0, path.rfind('/')).c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0700);
  {
    Guest master(path, "attach"), observer(path, "observe");
    CHECK(observer.say("1 kill_domain " + word_of(master.greeting, 2) + " 0") == "1 ok");
    CHECK(master.read() == "<closed>");
  }
  thread.join();
  close(ends[0]);
  CHECK(result == 0);
  CHECK(stat(path.substr(0, path.rfind('/')).c_str(), &status) != 0);
}
