// gc run: executes a program as the master of a new family. gc hook: runs a hook for the library.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string_view>

#include "core/cli/actions.hpp"
#include "core/cli/hypervisors.hpp"
#include "core/cli/output.hpp"
#include "core/cli/preloadable.hpp"
#include "core/cli/python.hpp"
#include "core/guest/attach.hpp"
#include "core/guest/clone_policy.hpp"
#include "core/guest/connection.hpp"
#include "core/guest/machine_page.hpp"
#include "core/guest/private_host.hpp"
#include "core/guest/spawn.hpp"
#include "core/private_files/enter.hpp"

namespace gridcentric::cli {
namespace {

constexpr int cannot_run = 126, not_found = 127;  // as shells have it

// Inside a domain, the domain's host would take this process for that domain: start another host.
bool in_domain_already() {
  const bool named = guest::names_host();
  // Not guest::in_machine(): that is decided once, and this process is about to leave the VM's host.
  if (!named && ::access(guest::machine_host_path, F_OK) != 0) return false;
  try {
    const std::string host = named ? guest::find_or_start_host() : guest::machine_host_path;
    const guest::Connection asking(host, "ask", nullptr);
    return true;
  } catch (const guest::Error &error) {
    if (error.code != GC_E_NOT_IN_DOMAIN) throw;
    return false;
  }
}

// Puts this gc's folder first on PATH, so that a script's `gc vmid` finds it: in packages that folder holds nothing but gc. A
// folder that is already on PATH, such as /usr/bin, keeps its place.
void offer_gc_on_path() {
  const std::string folder = own_folder();
  const char *now = std::getenv("PATH");
  const std::string path = now != nullptr ? now : "/usr/local/bin:/usr/bin:/bin";  // as shells have it
  if (folder.empty() || folder.find(':') != std::string::npos) return;
  if ((":" + path + ":").find(":" + folder + ":") == std::string::npos)
    ::setenv("PATH", (folder + ":" + path).c_str(), 1);
}

// The program listens for orders, whatever it is: `gc clone --of PID`.
void preload() {
  const std::string library = own_folder() + "/libgridcentric-run.so";
  if (::access(library.c_str(), R_OK) != 0)
    throw guest::Error(GC_E_NOT_SUPPORTED,
                       "'" + library +
                           "' is missing, which makes programs cloneable: install gridcentric "
                           "anew, or set GRIDCENTRIC_SERVE=0 to do without it");
  const char *others = std::getenv("LD_PRELOAD");
  ::setenv("LD_PRELOAD",
           (library + (others != nullptr && *others != '\0' ? ":" + std::string(others) : "")).c_str(), 1);
  ::setenv("GRIDCENTRIC_RUN", std::to_string(::getpid()).c_str(), 1);
}

// The children inherit what makes them cloneable, and the variable tells it so.
void clone_with_children(bool listens, const Capabilities &here) {
  if (!listens)
    throw UsageError{"--tree needs COMMAND to listen for orders, and GRIDCENTRIC_SERVE=0 forbids it"};
  if (here.mode != "pidns")
    throw guest::Error(
        GC_E_NOT_SUPPORTED,
        "--tree needs user and pid namespaces, in which processes keep their pids: " + here.why);
  ::setenv(guest::whole_tree_variable, "1", 1);
}

// "FOLDER,FOLDER"; without any, the working folder.
std::vector<std::string> split(const std::string &list) {
  if (list.empty()) return {"."};
  std::vector<std::string> names;
  std::istringstream text(list);
  for (std::string name; std::getline(text, name, ',');)
    if (!name.empty()) names.push_back(name);
  return names;
}

int run_in_python(const Driver &driver, const Arguments &arguments) {
  std::vector<std::string> words = {"run"};
  for (const auto &[name, value] : arguments.options) {
    if (name == "--hypervisor") continue;
    words.push_back(name);
    if (!value.empty() || takes_value(driver.run_options, name)) words.push_back(value);
  }
  words.push_back("--");
  words.insert(words.end(), arguments.words.begin(), arguments.words.end());
  return become_driver(driver, words);
}

}  // namespace

int run(const Arguments &arguments) {
  const Driver &driver = chosen_driver(arguments, false);
  check_options_of_others(arguments, driver, &Driver::run_options);
  if (driver.in_python && arguments.has("--tree"))
    throw UsageError{
        "--tree is for hypervisors that clone processes: a VM is cloned with all its processes anyway"};
  if (driver.in_python) return run_in_python(driver, arguments);
  if (arguments.has("--cpus")) {
    if (parse_integer(arguments.value("--cpus"), "--cpus") < 1) throw UsageError{"--cpus must be at least 1"};
    ::setenv("GRIDCENTRIC_CPUS", arguments.value("--cpus").c_str(), 1);
  }
  const char *serve = std::getenv("GRIDCENTRIC_SERVE");
  const bool listens = serve == nullptr || std::string_view(serve) != "0";
  if (listens) {
    if (const std::string reason = why_not_preloadable(arguments.words[0]); !reason.empty())
      throw guest::Error(GC_E_NOT_SUPPORTED, reason);
  }
  ::unsetenv(guest::whole_tree_variable);  // of a program around this one
  if (arguments.has("--tree")) clone_with_children(listens, driver.here());
  std::vector<std::string> folders;
  if (arguments.has("--private-files"))
    folders = private_files::checked(split(arguments.value("--private-files")));
  if (in_domain_already()) guest::start_host();
  std::vector<std::string> command = arguments.words;
  guest::introduce_as(command);
  if (!folders.empty()) {
    guest::find_or_start_host();  // it stays outside
    private_files::enter(folders);
  }
  guest::identity();  // this process is the master from here on, and still is after it executes the command
  offer_gc_on_path();
  if (listens) preload();
  ::execvp(command[0].c_str(), guest::pointers(command).data());
  const int error = errno;
  show(stderr, format("%s run: cannot run '%s': %s\n", program(), command[0].c_str(), std::strerror(error)));
  return error == ENOENT ? not_found : cannot_run;
}

int hook(const Arguments &arguments) {
  constexpr int channel = 3;  // core/guest/hooks.cpp
  if (::fcntl(channel, F_SETFD, FD_CLOEXEC) < 0)
    throw UsageError{"gc hook is for the library: descriptor 3 is not open"};
  std::vector<std::string> command = {arguments.words[0]};
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(2, 1);  // standard output is for the result alone: vmid=$(gc clone ...)
    ::execv(command[0].c_str(), guest::pointers(command).data());
    std::fprintf(stderr, "gridcentric: cannot run the hook '%s': %s\n", command[0].c_str(),
                 std::strerror(errno));
    ::_exit(errno == ENOENT ? not_found : cannot_run);
  }
  int state = 0;
  int status = cannot_run;
  if (child > 0) {
    while (::waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  }
  const std::string line = std::to_string(status) + "\n";
  return ::write(channel, line.data(), line.size()) == static_cast<ssize_t>(line.size()) ? 0 : 1;
}

}  // namespace gridcentric::cli
