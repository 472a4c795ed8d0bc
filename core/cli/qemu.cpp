#include "core/cli/qemu.hpp"

#include <gridcentric/gc-guest.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "core/cli/actions.hpp"
#include "core/guest/client.hpp"

namespace gridcentric::cli {
namespace {

// As `python3 -m` would do it, but: not from the working directory, which may be anybody's, and with a word for those who have
// gc from npm.
constexpr const char *start = R"(
import sys
sys.path[:] = [folder for folder in sys.path if folder]
try:
    from gridcentric.hypervisors.qemu.__main__ import main
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "gridcentric":
        raise
    print(f"gc: the qemu hypervisor comes with the Python package, which {sys.executable} does not have: "
          "pip install 'gridcentric[qemu]'", file=sys.stderr)
    sys.exit(24)
sys.exit(main())
)";

bool is_program(const std::string &path) { return ::access(path.c_str(), X_OK) == 0; }

std::string own_folder() {
  char path[PATH_MAX];
  const auto size = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string_view file(path, size > 0 ? static_cast<std::size_t>(size) : 0);
  return std::string(file.substr(0, file.rfind('/') + 1));
}

// The Python that this gc was installed into: PREFIX/bin/gc, or PREFIX/lib/pythonX.Y/site-packages/gridcentric/bin/gc.
// Else the one on PATH.
std::string find_python() {
  const std::string folder = own_folder();
  const auto package = folder.find("-packages/gridcentric/bin/");
  const auto library = folder.rfind("/lib", package);
  if (package != std::string::npos && library != std::string::npos) {
    const std::string python = folder.substr(0, library) + "/bin/python3";
    if (is_program(python)) return python;
  }
  if (is_program(folder + "python3")) return folder + "python3";
  return "python3";
}

}  // namespace

int become_qemu(const std::vector<std::string> &words) {
  std::vector<std::string> command = {find_python(), "-c", start};
  command.insert(command.end(), words.begin(), words.end());
  std::vector<char *> pointers;
  for (auto &word : command) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  ::execvp(pointers[0], pointers.data());
  throw guest::Error(GC_E_NOT_SUPPORTED, "the qemu hypervisor needs Python, and '" + command[0] +
                                             "' can't be run (" + std::strerror(errno) +
                                             "): apt-get install python3-venv, then in a venv pip install "
                                             "'gridcentric[qemu]'");
}

int image(const Arguments &arguments) {
  std::vector<std::string> words = {"image"};
  words.insert(words.end(), arguments.words.begin(), arguments.words.end());
  return become_qemu(words);
}

}  // namespace gridcentric::cli
