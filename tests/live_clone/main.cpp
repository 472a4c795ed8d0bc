// live-clone-testees NAME pidns|plain CLONES REAPER [main|thread]: runs one testee, on the main thread or on another. Prints
// "master ok" and, for each clone, "clone K ok"; a failed check prints "FAILED ..." and exits with status 1. Without
// arguments: lists the testees. test_testees.py runs it.
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <thread>

#include "testee.hpp"

namespace testee {
namespace {

std::map<std::string, void (*)()> &all() {
  static std::map<std::string, void (*)()> testees;
  return testees;
}

live_clone::Mode mode;
int clones;
std::string reaper;
live_clone::Outcome last;
int first_address = 1;

void say(const std::string &text) {
  const std::string line = text + "\n";
  if (write(1, line.data(), line.size()) < 0) _exit(3);
}

std::string who() { return last.index > 0 ? "clone " + std::to_string(last.index) : "master"; }

size_t count_entries(const char *path) {
  size_t n = 0;
  DIR *d = opendir(path);
  while (readdir(d)) n++;
  closedir(d);
  return n - 3;  // . and .. and the directory itself
}

}  // namespace

Registration::Registration(const char *name, void (*run)()) { all()[name] = run; }

void fail(const char *file, int line, const std::string &what) {
  say("FAILED " + who() + ": " + std::string(strrchr(file, '/') ? strrchr(file, '/') + 1 : file) + ":" +
      std::to_string(line) + ": " + what + " (errno " + strerror(errno) + ")");
  _exit(1);
}

live_clone::Order order() {
  live_clone::Order o;
  o.mode = mode;
  o.reaper_path = reaper;
  o.park_timeout_ms = 100'000;  // the computer may be emulated, or very busy: only what hangs is to fail
  for (int k = 0; k < clones; k++) o.addresses.push_back(0x7f4d0000u + uint32_t(first_address++ % 60000 + 1));
  return o;
}

int clone_here() { return clone_here(order()); }

int clone_here(const live_clone::Order &o, const std::string &passing) {
  auto result = clone_as_foretold(o);
  while (!passing.empty() && result.message.find(passing) != std::string::npos) result = live_clone::clone(o);
  if (result.index < 0) fail(__FILE__, __LINE__, result.message);
  const auto earlier = last.pidfds;
  last = result;
  if (last.index > 0) {
    for (int fd : earlier) close(fd);
    return last.index;
  }
  last.pidfds.insert(last.pidfds.end(), earlier.begin(), earlier.end());
  live_clone::commit();
  return 0;
}

const live_clone::Outcome &outcome() { return last; }

void wait_for_clones() {
  for (int fd : last.pidfds) {
    pollfd p{fd, POLLIN, 0};
    while (poll(&p, 1, -1) < 0 && errno == EINTR) {
    }
    close(fd);
  }
  last.pidfds.clear();
}

bool degraded(const std::string &text) {
  for (const std::string &d : last.degraded)
    if (d.find(text) != std::string::npos) return true;
  return false;
}

void until(const std::function<bool()> &condition) {
  while (!condition()) {
    timespec t{0, 1000000};
    nanosleep(&t, nullptr);
  }
}

void wait_asleep(int tid, std::initializer_list<long> calls) {
  const std::string path = "/proc/self/task/" + std::to_string(tid) + "/syscall";
  until([&] {
    std::ifstream file(path);
    CHECK(file);
    long call = 0;
    if (!(file >> call)) return false;  // "running"
    return call >= 0 && (calls.size() == 0 || std::find(calls.begin(), calls.end(), call) != calls.end());
  });
}

void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

bool has_input(int fd) {
  pollfd p{fd, POLLIN, 0};
  return poll(&p, 1, 0) == 1;
}

uint16_t port_of(int fd) {
  sockaddr_in6 a{};
  socklen_t size = sizeof a;
  CHECK(getsockname(fd, (sockaddr *)&a, &size) == 0);
  return ntohs(a.sin6_port);  // at the same place as for IPv4
}

size_t count_descriptors() { return count_entries("/proc/self/fd"); }

size_t count_mappings() {
  std::ifstream maps("/proc/self/maps");
  size_t n = 0;
  for (std::string line; std::getline(maps, line);) n++;
  return n;
}

namespace {

void run(void (*body)()) {
  body();
  if (last.index > 0) {
    say("clone " + std::to_string(last.index) + " ok");
    _exit(0);
  }
  wait_for_clones();
  if (waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD)
    fail(__FILE__, __LINE__, "the program sees a child");
  say("master ok");
}

}  // namespace
}  // namespace testee

int main(int argc, char **argv) {
  using namespace testee;
  if (argc < 5) {
    for (const auto &[name, body] : all()) puts(name.c_str());
    return argc == 1 ? 0 : 2;
  }
  const auto found = all().find(argv[1]);
  if (found == all().end()) {
    fprintf(stderr, "unknown testee '%s'; run it without arguments for a list\n", argv[1]);
    return 2;
  }
  mode = strcmp(argv[2], "pidns") == 0 ? live_clone::Mode::pidns : live_clone::Mode::plain;
  clones = atoi(argv[3]);
  reaper = argv[4];
  if (argc > 5 && strcmp(argv[5], "thread") == 0)
    std::thread(run, found->second).join();
  else
    run(found->second);
  return 0;
}
