#include "core/hypervisors/process_facts.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace gridcentric {
namespace {

thread_local int spare = -1;  // of SpareDescriptor

// A file of /proc that is small by nature; "" when it is not there.
std::string read_proc(const std::string &path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool borrowed = fd < 0 && errno == EMFILE && spare >= 0;
  if (borrowed) {
    close(spare);
    fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  }
  char bytes[4096];
  const ssize_t size = fd >= 0 ? read(fd, bytes, sizeof bytes) : 0;
  if (fd >= 0) close(fd);
  if (borrowed) spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return size > 0 ? std::string(bytes, static_cast<std::size_t>(size)) : "";
}

// The kernel's struct pidfd_info in its first size (Linux 6.13; exit_code since 6.15), which older headers
// lack.
struct PidfdInfo {
  std::uint64_t mask;
  std::uint64_t cgroup;
  std::uint32_t ids[11];
  std::int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr std::uint64_t info_exit = 1u << 3;

// The fields of /proc/PID/stat behind the name, which is in brackets and may hold anything; "" when there is
// none.
std::string after_name(int pid) {
  const std::string stat = read_proc("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t end = stat.rfind(')');
  return end == std::string::npos || stat.size() < end + 5 ? "" : stat.substr(end + 2);
}

}  // namespace

SpareDescriptor::SpareDescriptor() {
  if (spare < 0) spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

SpareDescriptor::~SpareDescriptor() {
  if (spare >= 0) close(spare);
  spare = -1;
}

int parent_of(int pid) {
  const std::string fields = after_name(pid);  // state, parent, ...
  return fields.empty() ? -1 : std::atoi(fields.c_str() + 2);
}

int open_pidfd(int pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

int pid_of_pidfd(int pidfd) {
  const std::string info = read_proc("/proc/self/fdinfo/" + std::to_string(pidfd));
  constexpr std::string_view key = "\nPid:\t";
  const std::size_t found = info.find(key);
  return found == std::string::npos ? -1 : std::atoi(info.c_str() + found + key.size());
}

namespace {

// The kernel lists them in the order in which they came: processes that a reaper has adopted, and those of a tree, which join a
// clone later, come after the one that it was made for.
int first_child_of(int pid) {
  const std::string number = std::to_string(pid);
  const std::string children = read_proc("/proc/" + number + "/task/" + number + "/children");
  return children.empty() ? -1 : std::atoi(children.c_str());
}

bool run_one_program(int pid, int other) {
  struct stat its {
  }, others{};
  return stat(("/proc/" + std::to_string(pid) + "/exe").c_str(), &its) == 0 &&
         stat(("/proc/" + std::to_string(other) + "/exe").c_str(), &others) == 0 &&
         its.st_dev == others.st_dev && its.st_ino == others.st_ino;
}

}  // namespace

std::pair<int, int> open_clone_of(int reaper) {
  int parent = reaper, child = first_child_of(parent);
  if (const int below = child < 0 ? -1 : first_child_of(child); below >= 0 && run_one_program(reaper, child))
    parent = child, child = below;
  const int pidfd = child < 0 ? -1 : open_pidfd(child);
  // Still its child: so the number has not become another process's in between.
  if (pidfd >= 0 && first_child_of(parent) == child) return {child, pidfd};
  if (pidfd >= 0) close(pidfd);
  return {-1, -1};
}

bool is_gone(int pidfd) {
  pollfd polled{pidfd, POLLIN, 0};
  return poll(&polled, 1, 0) == 1;
}

std::optional<int> wait_status_of(int pidfd, int pid) {
  const auto kept_by_kernel = [pidfd]() -> std::optional<int> {
    PidfdInfo info{};
    info.mask = info_exit;
    if (ioctl(pidfd, _IOWR(0xff, 11, PidfdInfo), &info) != 0 || !(info.mask & info_exit)) return std::nullopt;
    return info.exit_code;
  };
  // The kernel tells once somebody has reaped it, /proc until then: who reaps it between the two questions is why the
  // first is asked twice.
  if (const auto status = kept_by_kernel()) return status;
  const std::string fields = after_name(pid);
  if (fields.empty() || fields[0] != 'Z') return kept_by_kernel();
  return std::atoi(fields.c_str() + fields.find_last_of(' ') + 1);  // the last of them is the status
}

}  // namespace gridcentric
