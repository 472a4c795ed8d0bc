// Memory that is mapped but cannot be read: guard pages in every kind of mapping, and the pages of a truncated file. The
// engine must not touch them, and they must be in the clones as they are in the master.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "testee.hpp"

using namespace testee;

namespace {

constexpr int guard_install = 102,
              guard_remove = 103;  // of madvise(): Linux 6.13, of files and shared memory 6.15
constexpr size_t page = 4096, pages = 8;

// Would an access raise a signal? Uses a call that fails instead.
bool readable(const char *address) {
  static int zero = open("/dev/zero", O_WRONLY);
  static int ends[2] = {-1, -1};
  if (ends[0] < 0) CHECK(pipe2(ends, O_CLOEXEC) == 0 && zero >= 0);
  char byte;
  if (write(ends[1], address, 1) != 1) return false;
  CHECK(read(ends[0], &byte, 1) == 1);
  return true;
}

// Eight pages with a letter each; the fourth is a guard, with its letter under it if the kind of memory keeps it.
struct Guarded {
  const char *kind;
  char *at;
  bool keeps;  // the data under a guard
};

// False if this kernel does not support guards in such memory.
bool guard(char *at) { return madvise(at + 3 * page, page, guard_install) == 0; }

void fill(char *at) {
  for (size_t i = 0; i < pages; i++) memset(at + i * page, (int)('a' + i), page);
}

char *map(int flags, int fd) {
  void *at = mmap(nullptr, pages * page, PROT_READ | PROT_WRITE, flags, fd, 0);
  CHECK(at != MAP_FAILED);
  return static_cast<char *>(at);
}

int unlinked_file() {
  char name[] = "/tmp/testee-XXXXXX";
  const int fd = mkstemp(name);
  CHECK(fd >= 0 && unlink(name) == 0 && ftruncate(fd, pages * page) == 0);
  return fd;
}

void check(const Guarded &g) {
  for (size_t i = 0; i < pages; i++) {
    const bool guarded = i == 3;
    if (readable(g.at + i * page) == guarded)
      fail(__FILE__, __LINE__,
           std::string(g.kind) + ", page " + std::to_string(i) + (guarded ? ": no guard" : ": not readable"));
    if (!guarded && g.at[i * page] != char('a' + i))
      fail(__FILE__, __LINE__, std::string(g.kind) + ", page " + std::to_string(i) + ": other bytes");
  }
  CHECK(madvise(g.at + 3 * page, page, guard_remove) == 0);
  if (g.at[3 * page] != (g.keeps ? 'd' : 0))
    fail(__FILE__, __LINE__, std::string(g.kind) + ": other bytes under the guard");
  CHECK(madvise(g.at + 3 * page, page, guard_install) == 0);
}

}  // namespace

// A thread's stack with the guard inside its mapping, as in glibc 2.42.
TESTEE(guards_in_every_mapping) {
  std::vector<Guarded> all;
  const auto add = [&](const char *kind, char *at, bool keeps) {
    fill(at);
    if (guard(at)) all.push_back({kind, at, keeps});
  };
  const int memfd = memfd_create("guarded", 0), mapped = memfd_create("mapped only", 0);
  CHECK(ftruncate(memfd, pages * page) == 0 && ftruncate(mapped, pages * page) == 0);
  add("private anonymous", map(MAP_PRIVATE | MAP_ANONYMOUS, -1), false);
  add("a stack", map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1), false);
  add("a private file", map(MAP_PRIVATE, unlinked_file()), false);
  add("shared anonymous", map(MAP_SHARED | MAP_ANONYMOUS, -1), true);
  add("a memfd", map(MAP_SHARED, memfd), true);
  add("a shared file", map(MAP_SHARED, unlinked_file()), true);
  add("a memfd without a descriptor", map(MAP_SHARED, mapped), true);
  close(mapped);
  printf("%zu kinds of memory with guards\n", all.size());
  fflush(stdout);
  // Gives the search for locks something to find around them.
  static pthread_mutex_t held = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  std::atomic<bool> locked{false}, release{false};
  std::thread holder([&] {
    pthread_mutex_lock(&held);
    locked = true;
    until([&] { return release.load(); });
    CHECK_EQ(pthread_mutex_unlock(&held), 0);
  });
  until([&] { return locked.load(); });
  clone_here();
  release = true;
  holder.join();
  for (const Guarded &g : all) check(g);
}

// A held lock that ends where the readable memory ends: at a guard, and at memory that was never touched.
TESTEE(locks_at_the_edge) {
  char *at = map(MAP_PRIVATE | MAP_ANONYMOUS, -1), *fresh = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  constexpr size_t touched_of_lock =
      24;  // lock, count, owner, users, kind, spins; the links that follow are zero
  auto *by_guard = reinterpret_cast<pthread_mutex_t *>(at + page - sizeof(pthread_mutex_t));
  auto *by_nothing = reinterpret_cast<pthread_mutex_t *>(fresh + page - touched_of_lock);
  *by_guard = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  static const pthread_mutex_t fresh_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  memcpy(by_nothing, &fresh_lock, touched_of_lock);
  if (madvise(at + page, page, guard_install) != 0) munmap(at + page, page);
  std::atomic<bool> locked{false}, release{false};
  std::thread holder([&] {
    pthread_mutex_lock(by_guard);
    pthread_mutex_lock(by_nothing);
    locked = true;
    until([&] { return release.load(); });
    CHECK_EQ(pthread_mutex_unlock(by_guard), 0);
    CHECK_EQ(pthread_mutex_unlock(by_nothing), 0);
  });
  until([&] { return locked.load(); });
  clone_here();
  release = true;
  holder.join();
  CHECK_EQ(pthread_mutex_trylock(by_guard), 0);
  CHECK_EQ(pthread_mutex_trylock(by_nothing), 0);
}

// The file is shorter than its mappings: the pages beyond its end stay inaccessible.
TESTEE(files_cut_off_behind_their_mappings) {
  const int file = unlinked_file(), memfd = memfd_create("cut", 0);
  CHECK(ftruncate(memfd, pages * page) == 0);
  char *all[] = {map(MAP_PRIVATE, file), map(MAP_SHARED, memfd)};
  for (char *at : all) fill(at);
  CHECK(ftruncate(file, 2 * page) == 0 && ftruncate(memfd, 2 * page) == 0);
  clone_here();
  for (char *at : all) {
    CHECK_EQ(at[page], 'b');
    CHECK(readable(at) && !readable(at + 2 * page));
  }
}

// Another process truncates a file again and again while its pages, written by us, are searched for locks.
TESTEE(a_file_vanishes_during_the_search) {
  constexpr size_t size = 2048 * page;
  const int file = unlinked_file(), zero = open("/dev/zero", O_RDONLY);
  const pid_t other = fork();
  while (other == 0)
    if (ftruncate(file, 0) != 0 || ftruncate(file, size) != 0) _exit(1);
  void *at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  CHECK(at != MAP_FAILED);
  for (int i = 0; i < 10; i++) {
    for (size_t k = 0; k < size; k += page)  // by a call that fails where an access would raise a signal
      if (read(zero, static_cast<char *>(at) + k, page) < 0) CHECK_EQ(errno, EFAULT);
    const auto result = live_clone::clone(order());
    if (result.index < 0) fail(__FILE__, __LINE__, result.message);
    live_clone::abort();
  }
  kill(other, SIGKILL);
  CHECK_EQ(waitpid(other, nullptr, 0), other);
  clone_here();
}
