#include "core/preload/stand_in.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <gridcentric/drivers.hpp>
#include <thread>
#include <vector>

#include "core/live_clone/tree/family.hpp"

namespace gridcentric::preload {
namespace {

std::atomic<pid_t> expected{0};  // the child that asks, as the program knows it
std::atomic<int> made{0};        // in a clone: its stand-in; -1: there could be none. A futex
std::atomic<pid_t> ended{0};     // in a clone: the last child whose stand-in has been waited for
// On a page that the kernel wipes in every copy of this process: 0 there until the copy has been dealt with.
std::atomic<int> *original = nullptr;
// Standard input, output and error as the program was given them. A shell redirects its own for a moment and keeps these elsewhere.
struct stat given[3];

std::string file_of(int pid, const std::string &name) { return "/proc/" + std::to_string(pid) + "/" + name; }

// A field of /proc/PID/status: its last word as a number; -1: the process is gone.
int status_number(int pid, const std::string &field) {
  std::ifstream file(file_of(pid, "status"));
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(field + ":")) return std::atoi(line.c_str() + line.find_last_of("\t ") + 1);
  return -1;
}

// This process as /proc names it, which in a clone is the namespace outside.
int own_number() {
  char link[32] = "";
  [[maybe_unused]] const auto size = ::readlink("/proc/self", link, sizeof link - 1);
  return std::atoi(link);
}

bool is_below(int pid, int ancestor) {
  for (; pid > 1; pid = status_number(pid, "PPid"))
    if (pid == ancestor) return true;
  return false;
}

bool same_file(const struct stat &a, const struct stat &b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// This process's descriptors of a file, but for 0, 1 and 2.
std::vector<int> descriptors_of(const struct stat &wanted) {
  std::vector<int> found;
  DIR *folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return found;
  while (const dirent *entry = ::readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    struct stat facts {};
    if (fd > 2 && ::fstat(fd, &facts) == 0 && same_file(facts, wanted)) found.push_back(fd);
  }
  ::closedir(folder);
  return found;
}

bool has_read_end(const struct stat &pipe) {
  const auto ends = descriptors_of(pipe);
  return std::any_of(ends.begin(), ends.end(),
                     [](int fd) { return (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY; });
}

// Does the main thread stand still in a system call that may wait for this pipe or this child? Shells read from elsewhere, too,
// and wait for another child, while they start the processes of a pipeline.
bool waits_for(const struct stat &pipe, int child) {
  std::ifstream file("/proc/self/syscall");  // "running" or the call's number and its arguments
  if (!file.is_open()) return true;          // it can't be known
  long call = -1;
  unsigned long first = 0, second = 0;
  if (!(file >> call >> std::hex >> first >> second)) return false;
  struct stat facts {};
  switch (call) {
    case SYS_read:
    case SYS_readv:
      return ::fstat(static_cast<int>(first), &facts) == 0 && same_file(facts, pipe);
    case SYS_wait4:
      return static_cast<int>(first) <= 0 || static_cast<int>(first) == child;
    case SYS_waitid:
      return first != P_PID || static_cast<int>(second) == child;
    case SYS_rt_sigsuspend:
    case SYS_pause:
    case SYS_poll:
    case SYS_ppoll:
    case SYS_select:
    case SYS_pselect6:
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
    case SYS_futex:
      return true;
    default:
      return false;
  }
}

// Does this process read from the pipe that this child writes to? A shell has the read end also for the moment in which it starts
// the next process of a pipeline: so it counts once the main thread waits, or when it has had the end for long.
bool reads_from(const struct stat &pipe, int child) {
  constexpr std::chrono::seconds long_enough{10};
  const auto end = std::chrono::steady_clock::now() + long_enough;
  while (has_read_end(pipe)) {
    if (waits_for(pipe, child) || std::chrono::steady_clock::now() > end) return has_read_end(pipe);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

[[noreturn]] void refuse(const std::string &why) {
  throw guest::Error(GC_E_NOT_SUPPORTED,
                     why + "; call 'gc clone' in the script itself, or as vmid=$(gc clone UUID)" +
                         who_can(&Capabilities::whole_machine));
}

void forget_in_child() {
  expected = 0;
  made = 0;
  ended = 0;
  if (original != nullptr) *original = 1;
}

}  // namespace

void prepare_stand_ins() {
  for (const int fd : {0, 1, 2})
    if (::fstat(fd, &given[fd]) != 0) given[fd] = {};
  void *page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED || ::madvise(page, 4096, MADV_WIPEONFORK) != 0) return;
  original = new (page) std::atomic<int>(1);
  ::pthread_atfork(nullptr, nullptr, forget_in_child);
}

bool is_child(int pid) {
  const int self = own_number();
  return pid > 0 && pid != self && is_below(pid, self);
}

Asker::Asker(int pid) {
  if (original == nullptr || !preload::is_child(pid)) return;
  const int self = own_number();
  if (const int parent = status_number(pid, "PPid"); parent != self)
    refuse("'gc clone' runs in a child of the script (process " + std::to_string(parent) +
           ": a subshell, a pipeline or another program), which clones do not have");
  needs_.pid = pid;
  pid_ = status_number(pid, "NSpid");
  struct stat output {};
  const std::string link = file_of(pid, "fd/1");
  if (pid_ <= 0 || ::stat(link.c_str(), &output) != 0)
    refuse("the process that asked has ended or has no standard output");
  for (const int fd : {1, 2}) {
    struct stat own {};
    if (::fstat(fd, &own) == 0 && same_file(own, output)) output_ = fd;
  }
  if (output_ < 0 && S_ISFIFO(output.st_mode)) {
    if (!reads_from(output, pid_))
      refuse("the output of 'gc clone' goes into a pipe to another process, which clones do not have");
    needs_.device = output.st_dev;
    needs_.inode = output.st_ino;
  } else if (output_ < 0) {
    char path[PATH_MAX];
    const auto size = ::readlink(link.c_str(), path, sizeof path);
    if (size <= 0 || path[0] != '/') refuse("the output of 'gc clone' is neither a file nor a pipe");
    path_.assign(path, static_cast<std::size_t>(size));
  }
  for (const struct stat &stream : given) {
    const auto aside = descriptors_of(stream);
    needs_.standard_streams.insert(needs_.standard_streams.end(), aside.begin(), aside.end());
  }
}

void Asker::expect() {
  made = 0;
  expected = pid_;
}

void Asker::no_clone() { expected = 0; }

void Asker::stand_in(int vmid) {
  char text[24];
  const auto size = static_cast<std::size_t>(std::snprintf(text, sizeof text, "%d\n", vmid));
  int output = needs_.inode != 0 ? -1 : output_;
  if (!path_.empty()) output = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
  // It may not end before the wait family knows it: who gets its SIGCHLD looks for it at once.
  void *page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto *known = page != MAP_FAILED ? new (page) std::atomic<int>(0) : nullptr;
  // Nothing but system calls in the child: other threads may hold any lock.
  const long child = known ? ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr) : -1;
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const bool said = output < 0 || ::write(output, text, size) == static_cast<ssize_t>(size);
    while (*known == 0) ::syscall(SYS_futex, known, FUTEX_WAIT, 0, nullptr, nullptr, 0);
    ::syscall(SYS_exit_group, said ? 0 : 1);
  }
  if (!path_.empty() && output >= 0) ::close(output);
  made = child > 0 ? static_cast<int>(child) : -1;
  *original = 1;
  ::syscall(SYS_futex, &made, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  if (known == nullptr) return;
  *known = 1;
  ::syscall(SYS_futex, known, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  ::munmap(page, 4096);
}

int stand_ins_made() { return made; }

using live_clone::family;

pid_t target_of(pid_t pid) { return pid > 0 && pid == expected && made > 0 ? made.load() : pid; }

pid_t real_child(pid_t pid) {
  for (int i = 0; pid > 0 && i < family().count; ++i)
    if (family().children[i].known == pid) return family().children[i].real;
  return target_of(pid);
}

pid_t parent_as_known() {
  const pid_t real = static_cast<pid_t>(::syscall(SYS_getppid));
  const pid_t known = family().parent;
  return real == 1 && known > 0 && ::syscall(SYS_kill, known, 0) == 0 ? known : real;
}

bool is_expected(pid_t pid) { return pid > 0 && pid == expected; }

pid_t child_as_known(pid_t pid) {
  for (int i = 0; pid > 0 && i < family().count; ++i)
    if (family().children[i].real == pid) return family().children[i].known;
  return pid > 0 && pid == made ? expected.load() : pid;
}

void child_has_ended(pid_t real) {
  for (int i = 0; real > 0 && i < family().count; ++i)
    if (family().children[i].real == real) family().children[i].known = family().children[i].real = 0;
  if (real <= 0 || real != made) return;
  ended = expected.load();
  expected = 0;
  made = 0;
}

// A later child of the clone's may have been given the same pid.
bool is_gone(pid_t pid) {
  siginfo_t facts;
  return pid > 0 && pid == ended &&
         ::syscall(SYS_waitid, P_PID, pid, &facts, WEXITED | WNOHANG | WNOWAIT, nullptr) != 0;
}

bool wait_for_stand_in(bool at_once) {
  if (original == nullptr || expected == 0 || *original != 0) return false;
  while (!at_once && made == 0) ::syscall(SYS_futex, &made, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  return true;
}

}  // namespace gridcentric::preload
