// Several clones are made from a frozen copy while the master goes on: what the master does meanwhile is its own, what it
// closes is closed for good, and a copy that dies takes no clone along.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "testee.hpp"

using namespace testee;

namespace {

/// Clones, and runs `then` in the master as soon as its threads run again.
live_clone::Order with(std::function<void()> then) {
  live_clone::Order o = order();
  o.released = std::move(then);
  return o;
}

sockaddr_in here(uint16_t port = 0) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  a.sin_port = htons(port);
  return a;
}

int listener(uint16_t port = 0) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in a = here(port);
  if (bind(fd, reinterpret_cast<const sockaddr *>(&a), sizeof a) != 0 || listen(fd, 8) != 0) return -1;
  return fd;
}

bool lock(int fd, short type) {
  struct flock range {};
  range.l_type = type;
  range.l_len = 1;
  return fcntl(fd, F_SETLK, &range) == 0;
}

/// Copies of this program, not clones: they are children of the calling thread.
std::vector<pid_t> copies_of_this() {
  std::ifstream children("/proc/thread-self/children");
  std::vector<pid_t> found;
  for (pid_t pid; children >> pid;) found.push_back(pid);
  return found;
}

}  // namespace

TESTEE(changes_after_release_stay_the_masters) {
  static int in_memory = 1;
  auto *shared =
      static_cast<int *>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  CHECK(shared != MAP_FAILED);
  *shared = 1;
  const int memory = memfd_create("testee", MFD_CLOEXEC);
  CHECK(write(memory, "1", 1) == 1);
  const int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  int ends[2];
  CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0 && write(ends[1], "1", 1) == 1);
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 && write(pair[1], "1", 1) == 1);
  const int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in any = here();
  clone_here(with([&] {
    in_memory = *shared = 2;
    CHECK(pwrite(memory, "2", 1, 0) == 1);
    const uint64_t one = 1;
    CHECK(write(event, &one, sizeof one) == 8);
    CHECK(write(ends[1], "2", 1) == 1 && write(pair[1], "2", 1) == 1);
    CHECK(bind(udp, reinterpret_cast<const sockaddr *>(&any), sizeof any) == 0);
    CHECK(bind(idle, reinterpret_cast<const sockaddr *>(&any), sizeof any) == 0);
  }));
  const bool clone = outcome().index > 0;
  CHECK_EQ(in_memory, clone ? 1 : 2);
  CHECK_EQ(*shared, clone ? 1 : 2);
  char text[8] = {};
  CHECK(pread(memory, text, 1, 0) == 1);
  CHECK_EQ(text[0], clone ? '1' : '2');
  CHECK_EQ(has_input(event), !clone);
  CHECK_EQ(read(ends[0], text, sizeof text), clone ? 1 : 2);
  CHECK_EQ(read(pair[0], text, sizeof text), clone ? 1 : 2);
  CHECK_EQ(port_of(udp) != 0, !clone);
  CHECK_EQ(port_of(idle) != 0, !clone);
}

TESTEE(what_the_master_closes_is_closed) {
  const int door = listener(), unused = listener();
  const uint16_t port = port_of(unused);
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in to = here(port_of(door));
  CHECK(connect(client, reinterpret_cast<const sockaddr *>(&to), sizeof to) == 0);
  const int served = accept4(door, nullptr, nullptr, SOCK_CLOEXEC);
  int outside[2], ends[2], ready[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0 && pipe2(outside, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0);
  const pid_t reader =
      fork();  // has one end of a pipe and of a connection, which so become the master's alone
  if (reader == 0) {
    for (int fd : {door, unused, served, ends[0], ends[1], outside[1]}) close(fd);
    char byte = 'r';
    if (write(ready[1], &byte, 1) != 1) _exit(2);
    _exit(read(outside[0], &byte, 1) == 0 && read(client, &byte, 1) == 0 ? 0 : 1);
  }
  close(client);
  close(outside[0]);
  char byte;
  CHECK(read(ready[0], &byte, 1) == 1);  // it has let go of the other ends
  int ended = -1;
  clone_here(with([&] {
    close(ends[1]);
    CHECK(has_input(ends[0]));
    close(outside[1]);
    close(served);
    CHECK(waitpid(reader, &ended, 0) == reader);
    close(unused);
    CHECK(listener(port) >= 0);
  }));
  if (outcome().index == 0) CHECK_EQ(ended, 0);
  if (outcome().index > 0) CHECK(!has_input(ends[0]));
}

TESTEE(read_locks_hold_until_all_clones_have_them) {
  char name[] = "/tmp/gridcentric-testee-XXXXXX";
  const int file = mkstemp(name);
  CHECK(file >= 0 && unlink(name) == 0 && write(file, "x", 1) == 1);
  CHECK(lock(file, F_RDLCK));
  clone_here(with([&] { CHECK(!lock(file, F_WRLCK)); }));
  // The name is free since the unlink: when it is there again, the clones may end and let go of the lock.
  if (outcome().index > 0) return until([&] { return access(name, F_OK) == 0; });
  CHECK(!lock(file, F_WRLCK));
  const int checked = open(name, O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  wait_for_clones();
  CHECK(checked >= 0 && unlink(name) == 0 && close(checked) == 0);
}

// At any moment, and whichever: the first one makes more of them if there are many clones.
TESTEE(copy_killed) {
  static int round = 0;
  live_clone::Order killed = with([] {
    const timespec moment{0, round * 1'000'000L};
    nanosleep(&moment, nullptr);
    const auto copies = copies_of_this();
    if (!copies.empty()) kill(copies[static_cast<size_t>(round) % copies.size()], SIGKILL);
  });
  for (round = 0; round < 20; round++) {
    const size_t descriptors = count_descriptors(), mappings = count_mappings();
    const auto result = live_clone::clone(killed);
    if (result.index > 0) _exit(0);
    if (result.index == 0) {  // it had done its work before
      live_clone::abort();
      continue;
    }
    CHECK(copies_of_this().empty());
    CHECK_EQ(result.err, ECHILD);
    CHECK(result.message.find("has died") != std::string::npos);
    CHECK_EQ(count_descriptors(), descriptors);
    CHECK_EQ(count_mappings(), mappings);
  }
  clone_here();
}
