// Births and deaths: all or none, the gate, abort, the lifeline, and killed processes.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "testee.hpp"

using namespace testee;

namespace {

void send_kill(int pidfd) { CHECK(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0) == 0); }

// Process ids as the test's own /proc shows them; clones write them into a file that stays shared with the master.
class PidFile {
 public:
  PidFile() : path_("/tmp/live-clone-testee-pids-" + std::to_string(getpid())) { unlink(path_.c_str()); }
  void add_myself() const {
    char pid[32] = {};
    CHECK(readlink("/proc/self", pid, sizeof pid - 1) > 0);
    std::ofstream(path_, std::ios::app) << pid << std::endl;
  }
  size_t alive() const {
    size_t n = 0;
    std::ifstream file(path_);
    for (std::string pid; std::getline(file, pid);) {
      std::ifstream stat("/proc/" + pid + "/stat");
      std::string text;
      std::getline(stat, text);
      const size_t bracket = text.rfind(')');
      n += bracket != std::string::npos && text[bracket + 2] != 'Z';
    }
    return n;
  }
  void remove() const { unlink(path_.c_str()); }

 private:
  std::string path_;
};

}  // namespace

TESTEE(failure_at_the_kth_undoes_all) {
  std::atomic<bool> stop{false};
  std::thread other([&] { until([&] { return stop.load(); }); });
  const size_t before = count_descriptors();
  auto o = order();
  for (int k = 1; k <= (int)o.addresses.size(); k++) {
    o.fail_at = k;
    const auto result = live_clone::clone(o);
    CHECK_EQ(result.index, -1);
    CHECK(result.message.find("clone " + std::to_string(k) + " of") != std::string::npos);
    CHECK(result.pidfds.empty());
    CHECK_EQ(count_descriptors(), before);
  }
  o.fail_at = 0;
  clone_here(o);
  stop = true;
  other.join();
}

// Clones are made while those after them are being made: a clone must not keep the pidfd of a sibling.
TESTEE(clones_have_the_descriptors_of_the_master) {
  const size_t before = count_descriptors();
  if (clone_here() > 0) CHECK_EQ(count_descriptors(), before);
}

TESTEE(too_few_descriptors_undoes_all) {
  const size_t before = count_descriptors();
  rlimit old;
  getrlimit(RLIMIT_NOFILE, &old);
  rlimit low{0, old.rlim_max};  // room for 4 descriptors of the engine's and all pidfds but one
  for (size_t room = 4 + order().addresses.size() - 1; room > 0; low.rlim_cur++)
    room -= fcntl((int)low.rlim_cur, F_GETFD) < 0;
  CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
  const auto result = live_clone::clone(order());
  CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
  CHECK_EQ(result.index, -1);
  if (result.err != EMFILE) fail(__FILE__, __LINE__, std::to_string(result.err) + ": " + result.message);
  CHECK_EQ(count_descriptors(), before);
  clone_here();
}

TESTEE(abort_ends_held_clones) {
  const size_t before = count_descriptors();
  const auto result = live_clone::clone(order());
  CHECK_EQ(result.index, 0);  // no clone gets here: none is released
  const auto second = live_clone::clone(order());
  CHECK(second.index == -1 && second.err == EBUSY);
  live_clone::abort();
  CHECK_EQ(count_descriptors(), before);
  live_clone::abort();
  live_clone::commit();  // no clones are held: does nothing
  clone_here();
}

TESTEE(master_dies_with_held_clones) {
  const auto result = live_clone::clone(order());
  CHECK_EQ(result.index, 0);
  raise(SIGKILL);  // the driver sees that no process is left
}

TESTEE(lifeline_closed_ends_clones) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  auto o = order();
  o.lifeline = ends[0];
  const int secret = dup(1);
  o.private_descriptors = {secret};
  const int index = clone_here(o);
  if (index) {
    CHECK(fcntl(ends[0], F_GETFD) == -1 && fcntl(secret, F_GETFD) == -1);
    for (;;) pause();
  }
  close(ends[0]);
  CHECK(write(ends[1], "bytes do not matter", 19) == 19);
  pollfd p{outcome().pidfds[0], POLLIN, 0};
  CHECK_EQ(poll(&p, 1, 50), 0);
  close(ends[1]);
  wait_for_clones();
}

TESTEE(reaper_killed_ends_clone) {
  PidFile pids;
  const size_t n = order().addresses.size();
  if (clone_here()) {
    pids.add_myself();
    for (;;) pause();
  }
  until([&] { return pids.alive() == n; });
  for (int fd : outcome().pidfds) send_kill(fd);
  until([&] { return pids.alive() == 0; });
  pids.remove();
}

// The parent that a clone sees in pidns mode: killing it kills the clone, as in plain mode.
TESTEE(stand_in_killed_ends_clone_pidns) {
  if (clone_here()) {
    kill(getppid(), SIGKILL);
    for (;;) pause();
  }
}

TESTEE(large_heap) {
  constexpr size_t size = size_t(500) << 20, page = 4096;
  std::vector<char> heap(size);
  const auto mark = [](size_t at) { return char(at / page * 31 + 7); };
  for (size_t at = 0; at < size; at += page) heap[at] = mark(at);
  const int index = clone_here();
  for (size_t at = 0; at < size; at += page) CHECK_EQ(heap[at], mark(at));
  heap[size / 2] = char(index);  // a private page from here on
  CHECK_EQ(heap[size / 2], char(index));
}

TESTEE(descendants_end_with_the_clone) {
  PidFile pids;
  if (clone_here()) {
    for (int i = 0; i < 3; i++)
      if (fork() == 0) {
        setsid();
        if (fork() == 0) pids.add_myself();
        for (;;) pause();
      }
    until([&] { return pids.alive() >= 3; });
    _exit(0);
  }
  wait_for_clones();
  until([&] { return pids.alive() == 0; });
  pids.remove();
}

TESTEE(clone_ended_by_signal) {
  const int index = clone_here();
  if (index) raise(index % 2 ? SIGKILL : SIGSEGV);
  wait_for_clones();
}

// The terminal's Ctrl-C goes to the whole group; the reaper lets the clone decide.
TESTEE(signals_to_the_group_reach_the_clone_not_its_reaper) {
  static std::atomic<int> got;
  signal(SIGINT, [](int) { got++; });
  signal(SIGHUP, [](int) { got++; });
  const int index = clone_here();
  if (!index) {
    timespec t{0, 100000000};
    nanosleep(&t, nullptr);
    CHECK(kill(0, SIGINT) == 0 && kill(0, SIGHUP) == 0);
  }
  until([] { return got >= 2; });
}

TESTEE(standard_output_is_not_written_twice) {
  printf("printed once");  // in the buffer during the clone
  clone_here();
  puts("");
  fflush(stdout);
}

TESTEE(children_of_the_master_stay_its_own) {
  const int child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const int index = clone_here();
  int status;
  if (index)
    CHECK(waitpid(child, &status, WNOHANG) == -1 && errno == ECHILD);
  else
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
}

TESTEE(only_one_clone_at_a_time) {
  std::atomic<int> busy{0}, made{0};
  const auto o = order();
  std::thread callers[4];
  std::atomic<int> index{0};
  for (auto &c : callers)
    c = std::thread([&] {
      const auto r = live_clone::clone(o);
      if (r.index > 0) {
        index = r.index;
      } else if (r.index == 0) {
        made++;
        live_clone::abort();
      } else {
        CHECK_EQ(r.err, EBUSY);
        busy++;
      }
    });
  for (auto &c : callers) c.join();
  CHECK_EQ(index.load(), 0);
  CHECK_EQ(busy + made, 4);
  clone_here();
}
