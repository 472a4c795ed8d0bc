#include "core/hypervisors/qemu/agent/programs.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/hypervisors/qemu/agent/loopback.hpp"

namespace gridcentric::agent {
namespace {

#define GROUP "/sys/fs/cgroup/programs"
constexpr int freeze_limit_ms = 5000;  // a program that stays in the kernel for longer cannot be cloned

int freezer = -1;  // cgroup.freeze
int events = -1;   // cgroup.events
int members = -1;  // cgroup.procs; all are opened once, as an init system may mount over them
rlimit given{};    // RLIMIT_NOFILE

struct Pipe {
  int fds[2] = {-1, -1};  // to read, to write

  bool make() { return pipe2(fds, O_CLOEXEC) == 0; }
  int take(int which) { return std::exchange(fds[which], -1); }
  ~Pipe() {
    for (const int fd : fds)
      if (fd >= 0) close(fd);
  }
};

// Undoes what the agent has changed for itself and its children would inherit.
void be_ordinary() {
  setrlimit(RLIMIT_NOFILE, &given);
  signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool is_frozen() {
  char text[256];
  const ssize_t n = pread(events, text, sizeof text - 1, 0);
  text[n > 0 ? n : 0] = '\0';
  return std::strstr(text, "frozen 1") != nullptr;
}

}  // namespace

void take_descriptors() {
  getrlimit(RLIMIT_NOFILE, &given);
  const rlimit all{given.rlim_max, given.rlim_max};
  setrlimit(RLIMIT_NOFILE, &all);
}

std::string make_group() {
  if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "") != 0 || mkdir(GROUP, 0755) != 0)
    return std::string(GROUP ": ") + std::strerror(errno);
  freezer = open(GROUP "/cgroup.freeze", O_WRONLY | O_CLOEXEC);
  events = open(GROUP "/cgroup.events", O_RDONLY | O_CLOEXEC);
  members = open(GROUP "/cgroup.procs", O_WRONLY | O_CLOEXEC);
  if (freezer < 0 || events < 0 || members < 0)
    return std::string("the kernel has no cgroup freezer: ") + std::strerror(errno);
  return open_loopback(GROUP);
}

std::string hand_over(const std::string &init) {
  constexpr const char *group = GROUP "/init";
  if (access(init.c_str(), X_OK) != 0) return init + ": " + std::strerror(errno);
  if (mkdir(group, 0755) != 0) return std::string(group) + ": " + std::strerror(errno);
  Pipe trouble;
  if (!trouble.make()) return std::string("pipe: ") + std::strerror(errno);
  const pid_t agent = fork();
  if (agent < 0) return std::string("fork: ") + std::strerror(errno);
  if (agent > 0) {
    const int own = open(GROUP "/init/cgroup.procs", O_WRONLY | O_CLOEXEC);
    be_ordinary();
    if (own >= 0 && write(own, "0", 1) == 1) execl(init.c_str(), init.c_str(), nullptr);
    dprintf(trouble.fds[1], "%s: %s", init.c_str(), std::strerror(errno));
    for (;;) pause();  // until the VM is ended because of the error
  }
  close(trouble.take(1));
  char text[512];
  const ssize_t n = read(trouble.fds[0], text, sizeof text);
  if (n > 0) return {text, static_cast<std::size_t>(n)};  // else PID 1 is now the init system
  // PID 1 has this protection by default: neither the OOM killer nor systemd kills it. A name that begins with '@' tells
  // systemd to spare a process at shutdown (https://systemd.io/ROOT_STORAGE_DAEMONS).
  if (const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); score >= 0) {
    [[maybe_unused]] const auto written = write(score, "-1000", 5);
    close(score);
  }
  program_invocation_name[0] = '@';
  return "";
}

pid_t start_program(const std::string &folder, std::vector<std::string> arguments, bool apart, Ends &ends) {
  Pipe input, output, errors;
  if (!input.make() || !output.make() || (apart && !errors.make())) return -1;
  const pid_t pid = fork();
  if (pid > 0) ends = {input.take(1), output.take(0), errors.take(0)};
  if (pid != 0) return pid;
  dup2(input.fds[0], 0);
  dup2(output.fds[1], 1);
  dup2((apart ? errors : output).fds[1], 2);
  if (write(members, "0", 1) != 1) {
    dprintf(2, "gc-agent: " GROUP ": %s\n", std::strerror(errno));
    _exit(127);
  }
  setsid();
  be_ordinary();
  setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
  setenv("HOME", "/root", 1);
  std::vector<char *> argv;
  argv.reserve(arguments.size() + 1);
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
      return "a program in the VM can't be frozen: it has been in the kernel for " +
             std::to_string(freeze_limit_ms) + " ms";
    }
  }
  return "";
}

void thaw() { [[maybe_unused]] const auto written = write(freezer, "0", 1); }

}  // namespace gridcentric::agent
