// Run with certain system calls refused (tests/kernels): a clone works, or names the call, and the master is unharmed.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <thread>
#include <utility>

#include "testee.hpp"

using namespace testee;

namespace {

// What each descriptor refers to.
std::map<int, std::pair<dev_t, ino_t>> descriptors() {
  std::map<int, std::pair<dev_t, ino_t>> all;
  for (int fd = 0; fd < 256; fd++) {
    struct stat st;
    if (fstat(fd, &st) == 0) all[fd] = {st.st_dev, st.st_ino};
  }
  return all;
}

}  // namespace

TESTEE(works_or_says_why) {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0 && write(ends[1], "kept", 4) == 4);
  CHECK(dup(ends[1]) > 0);
  int pairs[4][2];  // ends of one type, and in no order
  for (auto &pair : pairs) CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  for (int i = 0; i < 2; i++) std::swap(pairs[i][0], pairs[3 - i][0]);
  for (auto &pair : pairs) CHECK(write(pair[0], &pair[0], sizeof pair[0]) == sizeof pair[0]);
  auto *shared =
      static_cast<char *>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  CHECK(shared != MAP_FAILED);
  *shared = 's';
  const auto before = descriptors();
  std::atomic<bool> stop{false};
  std::atomic<long> rounds{0};
  std::thread other([&] {
    while (!stop) rounds++, usleep(100);
  });
  const auto result = live_clone::clone(order());
  if (result.index == 0) live_clone::commit();
  if (result.index < 0) {
    printf("refused: %s\n", result.message.c_str());
    fflush(stdout);
  } else if (result.index == 0) {
    for (const int fd : result.pidfds) {
      until([fd] {
        pollfd p{fd, POLLIN, 0};
        return poll(&p, 1, 0) == 1;
      });
      close(fd);
    }
    CHECK(descriptors() == before);
  }
  if (result.index < 0) CHECK(descriptors() == before);
  const long now = rounds;
  until([&] { return rounds > now; });
  stop = true;
  other.join();
  CHECK_EQ(*shared, 's');
  char text[4];
  CHECK(read(ends[0], text, 4) == 4 && memcmp(text, "kept", 4) == 0);
  for (int i = 0; i < 4; i++) {
    int sender;
    CHECK(recv(pairs[3 - i][1], &sender, sizeof sender, MSG_DONTWAIT) == sizeof sender);
    CHECK_EQ(sender, pairs[i][0]);
    CHECK(write(pairs[3 - i][1], "back", 4) == 4 && recv(pairs[i][0], text, 4, MSG_DONTWAIT) == 4);
  }
  if (result.index > 0) {
    printf("clone %d works\n", result.index);
    fflush(stdout);
    _exit(0);
  }
}
