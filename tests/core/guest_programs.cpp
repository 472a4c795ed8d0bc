// Programs that guest_process.cpp starts, as each needs a client that has made no call yet. Exit status 0: as expected.
#include "tests/core/guest_programs.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "core/guest/client.hpp"

using namespace gridcentric;

namespace {

int bye() {
  if (guest::vmid() != 0) return 1;
  const pid_t child = ::fork();
  if (child == 0) std::exit(guest::vmid());  // runs the exit handlers
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

// As after an uncaught exception.
int error() { return guest::vmid() == 0 ? 3 : 1; }

int private_host() {
  std::mutex lock;
  std::set<std::string> families;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&] {
      const std::string family = guest::identity().family;
      std::lock_guard guard(lock);
      families.insert(family);
    });
  }
  for (auto &thread : threads) thread.join();
  const bool no_child = ::waitpid(-1, nullptr, WNOHANG | __WALL) == -1 && errno == ECHILD;
  const std::string host = std::getenv("GRIDCENTRIC_HOST");
  std::printf("%s\n", host.substr(host.find('/')).c_str());
  return families.size() == 1 && no_child ? 0 : 1;
}

int failing() {
  try {
    guest::vmid();
  } catch (const guest::Error &error) {
    std::printf("%s\n", error.text.c_str());
    return error.code == GC_E_HOST_UNREACHABLE ? 0 : 1;
  }
  return 1;
}

}  // namespace

int run_test_program(const std::string &name) {
  if (name == "bye") return bye();
  if (name == "error") return error();
  if (name == "private") return private_host();
  if (name == "failing") return failing();
  return 127;
}
