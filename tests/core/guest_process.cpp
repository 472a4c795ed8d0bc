// What the guest does with processes: helpers that are never waited for, hooks, private hosts, the goodbye at exit. Tests that
// need a fresh client run separate programs (guest_programs.cpp).
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "core/guest/hooks.hpp"
#include "core/guest/spawn.hpp"
#include "tests/core/guest_peer.hpp"

using namespace gridcentric;

namespace {

volatile sig_atomic_t children_ended = 0;

std::string read_all(int fd) {
  std::string text;
  char chunk[4096];
  for (ssize_t count; (count = ::read(fd, chunk, sizeof chunk)) > 0;)
    text.append(chunk, static_cast<std::size_t>(count));
  return text;
}

// Runs a shell command as a helper and returns what it writes to its channel.
std::string helper_says(const std::string &command, int *error = nullptr,
                        const std::string &shell = "/bin/sh") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const int result = guest::start_helper({.path = shell,
                                          .arguments = {"sh", "-c", command},
                                          .environment = guest::environment_with({"GIVEN=yes"}),
                                          .channel = ends[1]});
  if (error != nullptr) *error = result;
  ::close(ends[1]);
  std::string said = read_all(ends[0]);
  ::close(ends[0]);
  return said;
}

// Runs this program again as one of guest_programs.cpp, with changes to its environment. Returns exit status and output.
struct Outcome {
  int status;
  std::string output;
};

Outcome run_program(const std::string &name, const std::vector<std::string> &changes) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], 1);
    for (const auto &change : changes) {
      const auto equals = change.find('=');
      ::setenv(change.substr(0, equals).c_str(), change.substr(equals + 1).c_str(), 1);
    }
    ::execl("/proc/self/exe", "guest_tests", "program", name.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  Outcome outcome{0, read_all(ends[0])};
  ::close(ends[0]);
  ::waitpid(child, &outcome.status, 0);
  return outcome;
}

struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/gridcentric-test-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() {
    for (const char *file : {"pre-clone", "post-clone", "gc", "said", "file"})
      ::unlink((path + "/" + file).c_str());
    ::rmdir(path.c_str());
  }
  void write(const std::string &name, const std::string &content, mode_t mode = 0755) const {
    std::ofstream(path + "/" + name) << content;
    ::chmod((path + "/" + name).c_str(), mode);
  }
  std::string read(const std::string &name) const {
    std::ifstream file(path + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

}  // namespace

TEST_CASE("a helper is not a child of the program and inherits nothing but its channel") {
  struct sigaction action {};
  action.sa_handler = [](int) { children_ended = children_ended + 1; };
  ::sigaction(SIGCHLD, &action, nullptr);
  children_ended = 0;
  const int open_here = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as in careless programs
  const std::string probe = "echo $GIVEN >&3; for fd in 4 5 6 7 8 9 " + std::to_string(open_here) +
                            "; do [ -e /proc/$$/fd/$fd ] && [ $fd != 3 ] && echo leak $fd >&3; done; exit 3";
  CHECK(helper_says(probe) == "yes\n");
  CHECK(::waitpid(-1, nullptr, WNOHANG | __WALL) == -1);
  CHECK(errno == ECHILD);
  CHECK(children_ended == 0);
  ::close(open_here);
  ::signal(SIGCHLD, SIG_DFL);

  int error = 0;
  CHECK(helper_says("true", &error, "/no/such/shell") == "");
  CHECK(error == ENOENT);

  // The helper must not inherit the program's blocked and ignored signals.
  sigset_t term;
  ::sigemptyset(&term);
  ::sigaddset(&term, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &term, nullptr);
  ::signal(SIGINT, SIG_IGN);
  CHECK(helper_says("kill -TERM $$; echo blocked >&3") == "");
  CHECK(helper_says("kill -INT $$; echo ignored >&3") == "");
  ::pthread_sigmask(SIG_UNBLOCK, &term, nullptr);
  ::signal(SIGINT, SIG_DFL);
}

TEST_CASE("a hook writes to the program's standard error, even if the program keeps it from its children") {
  const Folder folder;
  ::setenv("GRIDCENTRIC_HOOKS", folder.path.c_str(), 1);
  ::setenv("GRIDCENTRIC_GC", GC_BINARY, 1);
  folder.write("pre-clone", "#!/bin/sh\necho out && echo err >&2\n");
  int out[2], err[2];
  REQUIRE((::pipe2(out, O_CLOEXEC) == 0 && ::pipe2(err, O_CLOEXEC) == 0));
  const int before[] = {::dup(1), ::dup(2)};
  ::dup3(out[1], 1, O_CLOEXEC);  // as Node does with its inherited descriptors
  ::dup3(err[1], 2, O_CLOEXEC);
  const auto outcome = guest::run_hook("pre-clone", {0, "127.77.0.1", "", false});
  for (const int fd : {1, 2}) {
    ::dup2(before[fd - 1], fd);
    ::close(before[fd - 1]);
  }
  ::close(out[1]);
  ::close(err[1]);
  CHECK(outcome.status == 0);
  CHECK(read_all(out[0]).empty());
  CHECK(read_all(err[0]) == "out\nerr\n");
  ::close(out[0]);
  ::close(err[0]);
  ::unsetenv("GRIDCENTRIC_HOOKS");
  ::unsetenv("GRIDCENTRIC_GC");
}

TEST_CASE("a hook's exit status arrives in a program that reaps all children") {
  const Folder folder;
  ::setenv("GRIDCENTRIC_HOOKS", folder.path.c_str(), 1);
  ::setenv("GRIDCENTRIC_GC", GC_BINARY, 1);
  ::signal(SIGCHLD, SIG_IGN);  // the kernel reaps children: waiting for one fails
  std::atomic<bool> stop{false};
  std::thread reaper([&] {
    while (!stop) ::waitpid(-1, nullptr, WNOHANG);
  });
  const guest::HookContext context{3, "127.77.0.3", "8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11", true};

  folder.write("post-clone", "#!/bin/sh\nexit 7\n");
  CHECK(guest::run_hook("pre-clone", context).status == 0);  // there is no such hook
  folder.write("pre-clone",
               "#!/bin/sh\necho $GC_VMID $GC_IP $GC_TICKET $GC_ROLE > " + folder.path + "/said\n");
  CHECK(guest::run_hook("pre-clone", context).status == 0);
  CHECK(folder.read("said") == "3 127.77.0.3 8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11 clone\n");
  constexpr int rounds = GC_SANITIZED ? 2 : 20;
  for (int round = 0; round < rounds; ++round) CHECK(guest::run_hook("post-clone", context).status == 7);
  CHECK(guest::run_hook("post-clone", context).text.find(folder.path + "/post-clone") != std::string::npos);
  folder.write("post-clone", "#!/bin/sh\nkill -9 $$\n");
  CHECK(guest::run_hook("post-clone", context).status == 128 + 9);
  folder.write("post-clone", "#!/no/such/shell\n");
  CHECK(guest::run_hook("post-clone", context).status == 127);
  folder.write("post-clone", "#!/bin/sh\n", 0644);
  CHECK(guest::run_hook("post-clone", context).status == 126);
  ::setenv("GRIDCENTRIC_GC", "/no/such/gc", 1);
  CHECK(guest::run_hook("pre-clone", context).status == 126);

  stop = true;
  reaper.join();
  ::signal(SIGCHLD, SIG_DFL);
  ::unsetenv("GRIDCENTRIC_HOOKS");
  ::unsetenv("GRIDCENTRIC_GC");
}

TEST_CASE("a master says goodbye once when it exits; its forked children do not") {
  Peer::instance().play({});
  const Outcome outcome = run_program("bye", {});
  CHECK(outcome.status == 0);
  const auto lines = Peer::instance().lines();
  CHECK(std::count(lines.begin(), lines.end(), "1 bye") == 1);
  CHECK(lines.back() == "1 bye");
  CHECK(lines.front().starts_with("gridcentric/1 attach name="));
  CHECK(lines.front().find(" mode=plain why=") != std::string::npos);
}

TEST_CASE("a master that ends with an error does not say goodbye") {
  Peer::instance().play({});
  CHECK(WEXITSTATUS(run_program("error", {}).status) == 3);
  const auto lines = Peer::instance().lines();
  REQUIRE(lines.size() == 1);
  CHECK(lines.front().starts_with("gridcentric/1 attach"));
}

TEST_CASE("a bad folder of hooks is named") {
  const Folder folder;
  const guest::HookContext context{0, "127.0.0.1", "t", false};
  const auto says = [&](const std::string &value, const char *text) {
    ::setenv("GRIDCENTRIC_HOOKS", value.c_str(), 1);
    const auto outcome = guest::run_hook("pre-clone", context);
    ::unsetenv("GRIDCENTRIC_HOOKS");
    CHECK(outcome.status != 0);
    CHECK(outcome.text.find("GRIDCENTRIC_HOOKS is '" + value + "'") != std::string::npos);
    CHECK(outcome.text.find(text) != std::string::npos);
  };
  says(folder.path + "/nowhere", "No such file or directory");
  folder.write("file", "");
  says(folder.path + "/file", "not a folder");
  says(folder.path, "neither pre-clone nor post-clone");
  folder.write("post-clone", "#!/bin/sh\n");
  ::setenv("GRIDCENTRIC_HOOKS", folder.path.c_str(), 1);
  CHECK(guest::run_hook("pre-clone", context).status == 0);
  ::unsetenv("GRIDCENTRIC_HOOKS");
}

TEST_CASE("threads that call at once start one private host, which ends with its family") {
  const Outcome outcome =
      run_program("private", {"GRIDCENTRIC_HOST=", std::string("GRIDCENTRIC_GC=") + GC_BINARY});
  CHECK(outcome.status == 0);
  const std::string socket = outcome.output.substr(0, outcome.output.find('\n'));
  REQUIRE(socket.starts_with("/"));
  while (::access(socket.c_str(), F_OK) == 0) std::this_thread::yield();  // the host removes it as it ends
}

TEST_CASE("a private host that does not start is reported with its reason") {
  const Folder folder;
  const auto says = [&] {
    return run_program("failing", {"GRIDCENTRIC_HOST=", "GRIDCENTRIC_GC=" + folder.path + "/gc"}).output;
  };
  CHECK(says().find("No such file") != std::string::npos);
  folder.write("gc", "#!/bin/sh\necho no luck today >&2\nexit 1\n");
  CHECK(says().find("no luck today") != std::string::npos);
  folder.write("gc", "#!/bin/sh\nexit 1\n");
  CHECK(says().find("without a word") != std::string::npos);
  folder.write("gc", "#!/bin/sh\necho /no/such/socket >&3\n");
  CHECK(says().find("/no/such/socket") != std::string::npos);
  CHECK(run_program("failing", {"GRIDCENTRIC_HOST=tcp:host"}).output.find("expected unix:/path") !=
        std::string::npos);
  CHECK(run_program("failing", {"GRIDCENTRIC_HOST=unix:/no/such/host"}).output.find("no host listens") !=
        std::string::npos);
  CHECK(
      run_program("failing", {"GRIDCENTRIC_HOST=unix:/" + std::string(200, 'x')}).output.find("201 bytes") !=
      std::string::npos);
}
