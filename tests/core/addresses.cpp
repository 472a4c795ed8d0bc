// The addresses of clones: leased in blocks, longest free first, and shared with other hosts on this computer.
#include "core/hypervisors/process/addresses.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>

#include "core/hypervisors/address_text.hpp"

using gridcentric::Addresses;

namespace {

const std::string leases = "gridcentric-test-" + std::to_string(getpid()) + "-";

}  // namespace

TEST_CASE("two hosts never give out the same address; the longest free is given first") {
  std::string error;
  Addresses one(leases), other(leases);
  const auto a = one.take(300, &error);
  const auto b = other.take(300, &error);
  REQUIRE(a.size() == 300);
  REQUIRE(b.size() == 300);
  std::set<std::uint32_t> all(a.begin(), a.end());
  all.insert(b.begin(), b.end());
  CHECK(all.size() == 600);
  CHECK(gridcentric::address_text(a[0]).starts_with("127.77."));
  one.give_back(a[5]);
  one.give_back(a[3]);
  const auto rest = one.take(208, &error);  // the rest of its two blocks comes before what was given back
  CHECK(std::find(rest.begin(), rest.end(), a[5]) == rest.end());
  CHECK(one.take(2, &error) == std::vector<std::uint32_t>{a[5], a[3]});
}

TEST_CASE("a lease ends with its host") {
  std::string error;
  std::uint32_t first;
  {
    Addresses gone(leases);
    first = gone.take(1, &error).at(0);
  }
  Addresses next(leases);
  CHECK(next.take(1, &error).at(0) == first);
}

// Binds everything that another user could bind, in both ways that a socket can; needs root to become another user.
TEST_CASE("a user who binds all names does not stop other users") {
  if (geteuid() != 0) {
    MESSAGE("not root: skipped");
    return;
  }
  const std::string names = "gridcentric-squatted-" + std::to_string(getpid()) + "-";
  for (const int type : {SOCK_DGRAM, SOCK_STREAM}) {
    int ready[2];
    REQUIRE(pipe(ready) == 0);
    const pid_t squatter = fork();
    if (squatter == 0) {
      if (setuid(65534) != 0) _exit(1);
      for (int block = 0; block < 256; ++block) {
        for (const std::string &name :
             {names + std::to_string(block), names + std::to_string(block) + "@0"}) {
          sockaddr_un address{};
          address.sun_family = AF_UNIX;
          name.copy(address.sun_path + 1, name.size());
          const int fd = socket(AF_UNIX, type, 0);
          const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
          if (bind(fd, reinterpret_cast<const sockaddr *>(&address), size) != 0) _exit(2);
          if (type == SOCK_STREAM && listen(fd, 0) != 0) _exit(3);
        }
      }
      if (write(ready[1], "x", 1) != 1) _exit(4);
      for (;;) pause();
    }
    close(ready[1]);
    char byte = 0;
    CHECK(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    {
      std::string error;
      Addresses one(names), other(names);
      CHECK(one.take(300, &error).size() == 300);
      CHECK(other.take(10, &error).size() == 10);
      CHECK(error == "");
    }
    kill(squatter, SIGKILL);
    waitpid(squatter, nullptr, 0);
  }
}

TEST_CASE("a request for more addresses than exist is refused, and takes none") {
  std::string error;
  Addresses addresses(leases);
  CHECK(addresses.take(70'000, &error).empty());
  CHECK(error.find("127.77.0.0/16") != std::string::npos);
  CHECK(addresses.take(10, &error).size() == 10);
}
