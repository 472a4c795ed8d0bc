#include "core/agent/programs.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/agent/loopback.hpp"
#include "core/agent/machine.hpp"

namespace gridcentric::agent {
namespace {

#define GROUP "/sys/fs/cgroup/programs"
constexpr int freeze_limit_ms = 5000;  // one that is deep in the kernel for longer can't be cloned

int freezer = -1;  // cgroup.freeze
int events = -1;   // cgroup.events

bool is_frozen() {
  char text[256];
  const ssize_t n = pread(events, text, sizeof text - 1, 0);
  text[n > 0 ? n : 0] = '\0';
  return std::strstr(text, "frozen 1") != nullptr;
}

}  // namespace

std::string make_group() {
  if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "") != 0 || mkdir(GROUP, 0755) != 0)
    return std::string(GROUP ": ") + std::strerror(errno);
  freezer = open(GROUP "/cgroup.freeze", O_WRONLY | O_CLOEXEC);
  events = open(GROUP "/cgroup.events", O_RDONLY | O_CLOEXEC);
  if (freezer < 0 || events < 0)
    return std::string("the kernel has no cgroup freezer: ") + std::strerror(errno);
  return open_loopback(GROUP);
}

pid_t start_program(const std::string &folder, std::vector<std::string> arguments, int ends) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  const int group = open(GROUP "/cgroup.procs", O_WRONLY | O_CLOEXEC);
  for (int fd = 0; fd < 3; fd++) dup2(ends, fd);
  if (group < 0 || write(group, "0", 1) != 1) {
    dprintf(2, "gc-agent: " GROUP ": %s\n", std::strerror(errno));
    _exit(127);
  }
  setsid();
  signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
  setenv("HOME", "/root", 1);
  setenv("GRIDCENTRIC_HOST", (std::string("unix:") + host_socket_path).c_str(), 1);
  setenv("GRIDCENTRIC_IDENTITY", page_path, 1);
  std::vector<char *> argv;
  for (std::string &argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  if (chdir(folder.c_str()) != 0) {
    dprintf(2, "gc-agent: %s: %s\n", folder.c_str(), std::strerror(errno));
    _exit(127);
  }
  if (!arguments.empty()) execvp(argv[0], argv.data());
  dprintf(2, "%s: %s\n", arguments.empty() ? "run" : argv[0], std::strerror(errno));
  _exit(127);
}

std::string freeze() {
  if (write(freezer, "1", 1) != 1) return std::string("cgroup.freeze: ") + std::strerror(errno);
  while (!is_frozen()) {
    pollfd change{events, POLLPRI, 0};
    if (poll(&change, 1, freeze_limit_ms) == 0) {
      thaw();
      return "a program of the machine can't be stopped: it has been deep in the kernel for " +
             std::to_string(freeze_limit_ms) + " ms";
    }
  }
  return "";
}

void thaw() { [[maybe_unused]] const auto written = write(freezer, "0", 1); }

}  // namespace gridcentric::agent
