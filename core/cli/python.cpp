#include "core/cli/python.hpp"

#include <glob.h>
#include <gridcentric/gc-guest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "core/cli/actions.hpp"
#include "core/guest/client.hpp"
#include "core/guest/spawn.hpp"

namespace gridcentric::cli {
namespace {

// For a Python that may lack the package: like `python3 -m module`, but with advice for those who have gc from npm, and never
// from the working directory, which may be anybody's.
constexpr const char *start_if_there = R"(
import importlib, sys
sys.path[:] = [folder for folder in sys.path if folder]
module = sys.argv.pop(1)
try:
    main = importlib.import_module(module + ".__main__").main
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "gridcentric":
        raise
    if sys.argv[1:] == ["gc"]:
        sys.exit(0)  # nothing of it can be left
    name = sys.argv[1] if module.endswith(".hypervisors") else module.rpartition(".")[2]
    extra = {"selftest": "", "scale": "[autoscale]"}.get(name, f"[{name}]")
    print(f"gc: {name} comes with the Python package, which {sys.executable} does not have: "
          f"in a checkout of gridcentric, {sys.executable} -m pip install '.{extra}'", file=sys.stderr)
    sys.exit(24)
sys.exit(main())
)";

bool is_there(const std::string &path, int mode) { return ::access(path.c_str(), mode) == 0; }

// The Python whose package this gc belongs to: gc is PREFIX/bin/gc, or bin/gc in the package itself, which is
// PREFIX/lib/pythonX.Y/site-packages/gridcentric. "" if gc was installed another way.
std::string own_python() {
  const std::string folder = own_folder();
  const auto package = folder.find("-packages/gridcentric/bin");
  const auto library = folder.rfind("/lib", package);
  if (package != std::string::npos && library != std::string::npos) {
    std::string python = folder.substr(0, library) + "/bin/python3";
    if (is_there(python, X_OK)) return python;
  }
  glob_t found{};
  const std::string modules = folder + "/../lib/python3*/*-packages/gridcentric/hypervisors";
  const bool installed = ::glob(modules.c_str(), 0, nullptr, &found) == 0;
  ::globfree(&found);
  return installed && is_there(folder + "/python3", X_OK) ? folder + "/python3" : "";
}

}  // namespace

std::string own_folder() {
  char path[PATH_MAX];
  const auto size = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string_view file(path, size > 0 ? static_cast<std::size_t>(size) : 0);
  return std::string(file.substr(0, file.rfind('/')));
}

int become_python(const char *module, const std::vector<std::string> &words, bool by_environment) {
  const std::string own = own_python();
  std::vector<std::string> command = {own, "-m", module};
  if (own.empty() || !by_environment) command = {own.empty() ? "python3" : own, "-c", start_if_there, module};
  if (by_environment) ::setenv("PYTHONSAFEPATH", "1", 1);  // not from the working directory (Python 3.11)
  command.insert(command.end(), words.begin(), words.end());
  ::execvp(command[0].c_str(), guest::pointers(command).data());
  const int error = errno;
  std::string extra;
  if (std::string_view(module).ends_with(".scale"))
    extra = "[autoscale]";
  else if (!words.empty() && find_driver(words[0]) != nullptr)
    extra = "[" + words[0] + "]";
  throw guest::Error(
      GC_E_NOT_SUPPORTED,
      std::string(module) + " needs Python, and '" + command[0] + "' cannot be run (" + std::strerror(error) +
          "): apt-get install python3-venv, then in a venv and a checkout of gridcentric, pip install '." +
          extra + "'");
}

int become_driver(const std::string &name, const std::vector<std::string> &words) {
  std::vector<std::string> all = {name};
  all.insert(all.end(), words.begin(), words.end());
  return become_python("gridcentric.hypervisors", all);
}

int become_driver(const Driver &driver, const std::vector<std::string> &words) {
  return become_driver(std::string(driver.name), words);
}

bool python_has_driver(const std::string &name) {
  const std::string own = own_python();
  if (own.empty()) return false;
  std::vector<std::string> command = {own, "-m", "gridcentric.hypervisors", "has", name};
  const std::vector<char *> arguments = guest::pointers(command);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("PYTHONSAFEPATH", "1", 1);
    ::execv(own.c_str(), arguments.data());
    ::_exit(127);
  }
  int state = 1;
  while (child > 0 && ::waitpid(child, &state, 0) < 0 && errno == EINTR) {
  }
  return child > 0 && WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

int scale(const Arguments &arguments) { return become_python("gridcentric.scale", arguments.words, false); }

int selftest(const Arguments &arguments) { return become_python("gridcentric.selftest", arguments.words); }

int image(const Arguments &arguments) {
  std::vector<std::string> words = {"image"};
  words.insert(words.end(), arguments.words.begin(), arguments.words.end());
  for (const Driver *driver : drivers())
    if (driver->images) return become_driver(*driver, words);
  throw UsageError{"no hypervisor of this gc has images"};
}

}  // namespace gridcentric::cli
