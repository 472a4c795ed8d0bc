#include "core/hypervisors/processes.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace gridcentric {
namespace {

// A file of /proc that is small by nature; "" when it is not there.
std::string read_proc(const std::string &path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  char bytes[4096];
  const ssize_t size = read(fd, bytes, sizeof bytes);
  close(fd);
  return size > 0 ? std::string(bytes, static_cast<std::size_t>(size)) : "";
}

}  // namespace

int parent_of(int pid) {
  const std::string stat = read_proc("/proc/" + std::to_string(pid) + "/stat");
  // The name, in brackets, may hold anything; behind it come the state and the parent.
  const std::size_t end = stat.rfind(')');
  if (end == std::string::npos || stat.size() < end + 5) return -1;
  return std::atoi(stat.c_str() + end + 4);
}

int open_pidfd(int pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

int pid_of_pidfd(int pidfd) {
  const std::string info = read_proc("/proc/self/fdinfo/" + std::to_string(pidfd));
  constexpr std::string_view key = "\nPid:\t";
  const std::size_t found = info.find(key);
  return found == std::string::npos ? -1 : std::atoi(info.c_str() + found + key.size());
}

}  // namespace gridcentric
