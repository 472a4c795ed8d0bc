// inotify: a clone's instance has no watches, reports the end of each, and never reuses their numbers.
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "testee.hpp"

using namespace testee;

namespace {

// The numbers of the watches that are reported as ended; nothing else may be reported.
std::vector<int> ended(int fd) {
  std::vector<int> numbers;
  alignas(inotify_event) char space[4096];
  pollfd p{fd, POLLIN, 0};
  while (poll(&p, 1, 0) == 1) {
    const ssize_t n = read(fd, space, sizeof space);
    CHECK(n > 0);
    for (const char *at = space; at < space + n;) {
      inotify_event event;
      memcpy(&event, at, sizeof event);
      CHECK(event.mask == IN_IGNORED);
      numbers.push_back(event.wd);
      at += sizeof event + event.len;
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::string folder() {
  char path[] = "/tmp/live-clone-testee-XXXXXX";
  CHECK(mkdtemp(path));
  return path;
}

}  // namespace

TESTEE(watches_end_and_their_numbers_are_not_given_again) {
  const int all = inotify_init1(IN_NONBLOCK), gaps = inotify_init1(0), unused = inotify_init1(IN_NONBLOCK),
            copy = dup(gaps), set = epoll_create1(0);
  const char *paths[] = {"/tmp", "/", "/usr", "/usr/bin", "/usr/lib", "/etc"};
  for (const char *path : paths) CHECK(inotify_add_watch(all, path, IN_DELETE_SELF) > 0);
  for (const char *path : paths) CHECK(inotify_add_watch(gaps, path, IN_DELETE_SELF) > 0);
  for (int number : {1, 3, 4}) CHECK(inotify_rm_watch(gaps, number) == 0);
  CHECK(ended(gaps).size() == 3);
  epoll_event event{EPOLLIN | EPOLLET, {.u64 = 1}};
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, gaps, &event) == 0);
  const int index = clone_here();
  CHECK(degraded("inotify, its 6 watches") &&
        degraded("descriptor " + std::to_string(gaps) + ": inotify, its 3"));
  CHECK(!degraded("descriptor " + std::to_string(unused)) && !degraded("descriptor " + std::to_string(copy)));
  if (!index) {
    CHECK(ended(all).empty() && ended(gaps).empty());
    CHECK(inotify_rm_watch(gaps, 2) == 0 && inotify_rm_watch(all, 1) == 0);
    return;
  }
  CHECK(epoll_wait(set, &event, 1, 0) == 1);
  CHECK(ended(all) == std::vector<int>({1, 2, 3, 4, 5, 6}));
  CHECK(ended(copy) == std::vector<int>({2, 5, 6}));
  for (int fd : {all, gaps}) {
    CHECK(inotify_rm_watch(fd, 2) == -1 && errno == EINVAL);
    CHECK(inotify_add_watch(fd, "/usr", IN_DELETE_SELF) == 7);
  }
  CHECK(inotify_add_watch(unused, "/usr", IN_DELETE_SELF) == 1);
}

// A program that often adds and removes watches has high numbers, and more of them than the queue holds.
TESTEE(high_numbers_of_watches_are_used_up) {
  const int fd = inotify_init1(IN_NONBLOCK);
  const std::string first = folder(), last = folder();
  CHECK(inotify_add_watch(fd, first.c_str(), IN_DELETE_SELF) == 1);
  for (int number = 2; number < 30'000; number++) {
    CHECK(inotify_add_watch(fd, last.c_str(), IN_DELETE_SELF) == number && inotify_rm_watch(fd, number) == 0);
    char event[sizeof(inotify_event)];
    CHECK(read(fd, event, sizeof event) == sizeof event);
  }
  CHECK(inotify_add_watch(fd, last.c_str(), IN_DELETE_SELF) == 30'000);
  const int index = clone_here();
  if (index) {
    CHECK(ended(fd) == std::vector<int>({1, 30'000}));
    CHECK(inotify_add_watch(fd, "/", IN_DELETE_SELF) == 30'001);
    return;
  }
  wait_for_clones();
  CHECK(rmdir(first.c_str()) == 0 && rmdir(last.c_str()) == 0);
}
