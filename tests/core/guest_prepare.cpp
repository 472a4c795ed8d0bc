// prepare() and GRIDCENTRIC_PREPARE with the real engine and a private host: what is moved into huge pages and what is not, that the
// thread is gone when it must be, and that neither is in the way of fork() and clone(). Prints what failed; exit code 0: nothing did;
// 77: there are no huge pages here.
#include <dirent.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "core/guest/client.hpp"

using namespace gridcentric;

namespace {

constexpr std::size_t huge = 2 << 20, pieces = 4, page = 4096;

std::string failures;

#define CHECK(condition)                                                                              \
  do {                                                                                                \
    if (!(condition))                                                                                 \
      failures.append(std::string(__func__) + ":" + std::to_string(__LINE__) + ": " #condition "\n"); \
  } while (0)

// Memory whose first byte is at a multiple of 2 MiB, in a separate mapping: nothing is mapped beside it.
class Memory {
 public:
  explicit Memory(int flags = MAP_PRIVATE, int fd = -1, int advice = MADV_NORMAL) {
    const std::size_t reserved = (pieces + 2) * huge;
    base_ = static_cast<char *>(
        ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    at_ = reinterpret_cast<char *>((reinterpret_cast<std::uintptr_t>(base_) + huge) & ~(huge - 1));
    ::mmap(at_, pieces * huge, PROT_READ | PROT_WRITE, flags | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0), fd,
           0);
    if (advice != MADV_NORMAL) ::madvise(at_, pieces * huge, advice);
  }
  ~Memory() { ::munmap(base_, (pieces + 2) * huge); }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;

  // Every page, or every n-th.
  void fill(std::size_t every = 1) {
    for (std::size_t i = 0; i < pieces * huge; i += every * page) at_[i] = byte(i);
  }
  bool is_filled() const {
    for (std::size_t i = 0; i < pieces * huge; i += page)
      if (at_[i] != byte(i) || at_[i + 1] != 0) return false;
    return true;
  }
  char *at() const { return at_; }

  // A number of smaps, in KiB.
  std::size_t number(const std::string &name) const {
    std::ifstream smaps("/proc/self/smaps");
    char start[32];
    std::snprintf(start, sizeof start, "%lx-", reinterpret_cast<unsigned long>(at_));
    bool here = false;
    for (std::string line; std::getline(smaps, line);) {
      if (line.find('-') < line.find(' ')) here = line.starts_with(start);
      if (here && line.starts_with(name)) return std::stoul(line.substr(name.size()));
    }
    return 0;
  }
  std::size_t huge_kib() const { return number("AnonHugePages:"); }

 private:
  static char byte(std::size_t i) { return static_cast<char>(i / page % 251 + 1); }
  char *base_, *at_;
};

constexpr std::size_t all_kib = pieces * huge / 1024;

bool has_thread() {
  bool found = false;
  DIR *tasks = ::opendir("/proc/self/task");
  while (const dirent *task = ::readdir(tasks)) {
    std::string name;
    std::getline(std::ifstream(std::string("/proc/self/task/") + task->d_name + "/comm"), name);
    found = found || name == "gc-prepare";
  }
  ::closedir(tasks);
  return found;
}

void memory_in_use_is_moved_and_no_other() {
  Memory plain, shared(MAP_SHARED), sparse, locked;
  Memory refused(MAP_PRIVATE, -1, MADV_NOHUGEPAGE), not_forked(MAP_PRIVATE, -1, MADV_DONTFORK);
  FILE *file = std::tmpfile();
  CHECK(::ftruncate(::fileno(file), pieces * huge) == 0);
  Memory of_file(MAP_PRIVATE, ::fileno(file));
  for (Memory *one : {&plain, &shared, &locked, &refused, &not_forked, &of_file}) one->fill();
  sparse.fill(2);
  const bool can_lock = ::mlock(locked.at(), pieces * huge) == 0;
  const std::size_t before = sparse.number("Rss:");

  CHECK(guest::prepare(0) == 0);
  CHECK(guest::prepare(-1) >= static_cast<int>(all_kib / 1024));
  CHECK(plain.huge_kib() == all_kib);
  for (const Memory *one : {&shared, &refused, &not_forked, &of_file}) CHECK(one->huge_kib() == 0);
  CHECK(!can_lock || locked.huge_kib() == 0);
  CHECK(sparse.number("Rss:") == before);
  for (const Memory *one : {&plain, &shared, &locked, &refused, &not_forked, &of_file})
    CHECK(one->is_filled());
  std::fclose(file);
}

void memory_shared_with_a_child_is_left_alone() {
  Memory memory;
  memory.fill();
  int end[2];
  CHECK(::pipe(end) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte;
    ::close(end[1]);
    ::_exit(static_cast<int>(::read(end[0], &byte, 1)));
  }
  guest::prepare(-1);
  CHECK(memory.huge_kib() == 0);
  ::close(end[1]);
  ::waitpid(child, nullptr, 0);
  ::close(end[0]);
  guest::prepare(-1);
  CHECK(memory.huge_kib() == all_kib);
}

void a_cancelled_call_throws() {
  guest::Call call;
  call.cancel();
  int code = 0;
  try {
    guest::prepare(-1, &call);
  } catch (const guest::Error &error) {
    code = error.code;
  }
  CHECK(code == guest::error_cancelled);
}

void check_results(const std::string &ticket, std::size_t count) {
  const auto results = guest::wait(ticket, -1);
  CHECK(results.size() == count);
  for (const auto &result : results) failures.append(result.report.value_or("no report\n"));
}

void clones_have_the_memory() {
  Memory memory;
  memory.fill();
  guest::prepare(-1);
  const std::string ticket = guest::request_ticket(2, 2, 1, 0);
  if (guest::clone(ticket) > 0) {
    CHECK(memory.is_filled());
    CHECK(guest::prepare(1000) >= 0);
    guest::join(failures);
  }
  CHECK(memory.huge_kib() == all_kib);
  check_results(ticket, 2);
}

// What explain() says after its first line, which counts threads and descriptors.
std::string hazards() {
  const std::string report = guest::explain().report;
  return report.substr(report.find('\n'));
}

// The thread's work is seen in the memory, however long it takes.
void the_thread_ends_with_the_ticket() {
  Memory memory;
  memory.fill();
  const std::string before = hazards();
  const std::string ticket = guest::request_ticket(1, 1, 1, 0);
  while (memory.huge_kib() != all_kib && has_thread()) std::this_thread::yield();
  CHECK(hazards() == before);
  guest::release_ticket(ticket);
  CHECK(!has_thread());

  const std::string other = guest::request_ticket(1, 1, 1, 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool fine = !has_thread() && guest::prepare(1000) >= 0 && memory.is_filled();
    ::_exit(fine ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  if (guest::clone(other) > 0) {
    CHECK(!has_thread());
    CHECK(memory.is_filled());
    guest::release_ticket(guest::request_ticket(1, 1, 1, 0));
    CHECK(!has_thread());
    guest::join(failures);
  }
  CHECK(!has_thread());
  check_results(other, 1);
}

void clones_are_made_while_another_thread_prepares() {
  Memory memory;
  memory.fill();  // a clone may be made before the other thread has begun
  std::atomic<bool> over{false};
  std::thread other([&] {
    while (!over) {
      ::madvise(memory.at(), pieces * huge, MADV_DONTNEED);
      memory.fill();
      guest::prepare(-1);
    }
  });
  for (int round = 0; round < 10; ++round) {
    const std::string ticket = guest::request_ticket(2, 2, 1, 0);
    if (guest::clone(ticket) > 0) {
      over = true;
      other.join();  // it goes on here
      guest::join(memory.is_filled() ? "" : "a clone's thread has lost memory\n");
    }
    check_results(ticket, 2);
  }
  over = true;
  other.join();
}

bool there_are_huge_pages() {
  Memory memory;
  memory.fill();
  guest::prepare(-1);
  return memory.huge_kib() == all_kib;
}

}  // namespace

int main() {
  try {
    if (!there_are_huge_pages()) {
      std::puts(
          "skipped: no huge pages here (Linux before 6.1, transparent_hugepage set to never, or memory in "
          "pieces)");
      return 77;
    }
    memory_in_use_is_moved_and_no_other();
    memory_shared_with_a_child_is_left_alone();
    a_cancelled_call_throws();
    clones_have_the_memory();
    ::setenv("GRIDCENTRIC_PREPARE", "1", 1);
    the_thread_ends_with_the_ticket();
    clones_are_made_while_another_thread_prepares();
  } catch (const guest::Error &error) {
    failures.append("vmid " + std::to_string(guest::vmid()) + ": " + error.text + "\n");
    if (!guest::ismaster()) guest::join(failures);
  }
  std::fputs(failures.c_str(), stdout);
  return failures.empty() ? 0 : 1;
}
