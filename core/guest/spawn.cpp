#include "core/guest/spawn.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <string_view>

#include "core/live_clone/close_descriptors.hpp"

extern char **environ;

// clone(2) by glibc's other name. ThreadSanitizer puts its own in place of the first, which takes every clone for a fork and
// writes so down in the memory that is shared here: it would not see the calling thread's locks any more.
extern "C" int __clone(int (*work)(void *), void *stack, int flags, void *argument, ...);

namespace gridcentric::guest {
namespace {

constexpr std::size_t stack_bytes = 64 * 1024;

// What the two processes between the program and the helper work on. They share the program's memory while the calling
// thread is stopped (CLONE_VM | CLONE_VFORK), so they may neither allocate nor take locks, and speak to the kernel alone:
// a wrapper of the C library, or a sanitizer's, may write down in that memory what is true only of them.
struct Launch {
  const char *path;
  char *const *arguments;
  char *const *environment;
  int channel;
  bool quiet;
  char *stack;  // of the helper to be, until it executes
  int error;    // why it could not be
};

bool duplicate(long from, int to) { return from == to || ::syscall(SYS_dup3, from, to, 0) == to; }

bool arrange_descriptors(const Launch &launch) {
  // Descriptor 3 may be what 0-2 are to be made of: move the channel out of the way first.
  const long channel = ::syscall(SYS_fcntl, launch.channel, F_DUPFD, 4);
  if (channel < 0) return false;
  if (launch.quiet) {
    const long nothing = ::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
    if (nothing < 0 || !duplicate(nothing, 0) || !duplicate(nothing, 1) || !duplicate(channel, 2))
      return false;
    ::syscall(SYS_setsid);
  } else {
    // Node marks what it was given so that its children do not get it.
    for (int fd = 0; fd < 3; ++fd) ::syscall(SYS_fcntl, fd, F_SETFD, 0);
  }
  if (!duplicate(channel, 3)) return false;
  const int error = live_clone::close_descriptors(4, ~0U);
  if (error != 0) errno = error;
  return error == 0;
}

int become_helper(void *argument) {
  auto *launch = static_cast<Launch *>(argument);
  const unsigned long zeros[8] = {};  // the kernel's struct sigaction with SIG_DFL, and the empty set
  constexpr std::size_t set_bytes = 8;
  for (int number = 1; number < NSIG; ++number)
    ::syscall(SYS_rt_sigaction, number, zeros, nullptr, set_bytes);
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, zeros, nullptr, set_bytes);
  if (arrange_descriptors(*launch)) ::execve(launch->path, launch->arguments, launch->environment);
  launch->error = errno;
  ::_exit(127);
}

int stand_between(void *argument) {
  auto *launch = static_cast<Launch *>(argument);
  const int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
  if (::__clone(become_helper, launch->stack + stack_bytes, flags, launch) < 0) launch->error = errno;
  ::_exit(0);  // the helper's parent is init now, or the nearest subreaper
}

// The file this code was loaded from: a shared library, or the program itself.
std::string own_file() {
  Dl_info info{};
  link_map *map = nullptr;
  void *extra = nullptr;
  char resolved[PATH_MAX];
  const bool library = ::dladdr1(reinterpret_cast<void *>(&own_file), &info, &extra, RTLD_DL_LINKMAP) != 0 &&
                       (map = static_cast<link_map *>(extra)) != nullptr && map->l_name[0] != '\0';
  return ::realpath(library ? map->l_name : "/proc/self/exe", resolved) != nullptr ? resolved : "";
}

bool is_program(const std::string &path) { return ::access(path.c_str(), X_OK) == 0; }

}  // namespace

std::vector<char *> pointers(const std::vector<std::string> &texts) {
  std::vector<char *> result;
  result.reserve(texts.size() + 1);
  for (const auto &text : texts) result.push_back(const_cast<char *>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

int start_helper(const Helper &helper) {
  const auto arguments = pointers(helper.arguments);
  const auto environment = pointers(helper.environment);
  void *stacks = ::mmap(nullptr, 2 * stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stacks == MAP_FAILED) return errno;
  auto *memory = static_cast<char *>(stacks);
  Launch launch{
      helper.path.c_str(), arguments.data(), environment.data(), helper.channel, helper.quiet, memory, 0};

  // No handler of the program may run in a process that shares its memory.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // Exit signal 0: no SIGCHLD, and only a wait with __WCLONE or __WALL sees it.
  const int pid = ::__clone(stand_between, memory + 2 * stack_bytes, CLONE_VM | CLONE_VFORK, &launch);
  int error = pid < 0 ? errno : 0;
  if (pid > 0) {
    while (::waitpid(pid, nullptr, __WCLONE) < 0 && errno == EINTR) {
    }
    error = launch.error;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::munmap(stacks, 2 * stack_bytes);
  return error;
}

namespace {

std::string find_own_gc() {
  const std::string file = own_file();
  const std::string folder = file.substr(0, file.rfind('/') + 1);
  for (const char *place : {"../bin/gc", "../lib/gridcentric/gc", "bin/gc", "gc"}) {
    if (!folder.empty() && is_program(folder + place)) return folder + place;
  }
  const char *path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    const std::string place(rest.substr(0, colon));
    rest = colon == std::string_view::npos ? "" : rest.substr(colon + 1);
    if (!place.empty() && is_program(place + "/gc") && is_program(place + "/gc-reaper")) return place + "/gc";
  }
  return "";
}

std::string reaper_beside(const std::string &gc) {
  char resolved[PATH_MAX];
  if (gc.empty() || ::realpath(gc.c_str(), resolved) == nullptr) return "";
  const std::string path(resolved);
  std::string reaper = path.substr(0, path.rfind('/') + 1) + "gc-reaper";
  return is_program(reaper) ? reaper : "";
}

}  // namespace

std::string find_gc() {
  const char *named = std::getenv("GRIDCENTRIC_GC");
  return named != nullptr && *named != '\0' ? named : find_own_gc();
}

std::string find_reaper() {
  std::string reaper = reaper_beside(find_gc());
  return reaper.empty() ? reaper_beside(find_own_gc()) : reaper;
}

std::vector<std::string> environment_with(const std::vector<std::string> &changes) {
  const auto is_changed = [&](std::string_view entry) {
    for (const auto &change : changes) {
      if (entry.starts_with(std::string_view(change).substr(0, change.find('=') + 1))) return true;
    }
    return false;
  };
  std::vector<std::string> result;
  for (char **entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (!is_changed(*entry)) result.emplace_back(*entry);
  }
  result.insert(result.end(), changes.begin(), changes.end());
  return result;
}

}  // namespace gridcentric::guest
