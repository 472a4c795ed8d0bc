#include "core/guest/attach.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string_view>

#include "core/guest/reply.hpp"
#include "core/live_clone/live_clone.hpp"
#include "core/wire/request.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::guest {
namespace {

constexpr std::size_t longest_why = 256;
std::atomic<bool> asks_only{false};
thread_local bool thread_founds_nothing = false;
std::atomic<int> asks_about{0};  // 0: whatever domain this process is in

std::string_view variable(const char *name) {
  const char *value = std::getenv(name);
  return value != nullptr ? value : "";
}

[[noreturn]] void refuse_variable(const char *name, std::string_view expected) {
  throw Error(GC_E_INVALID_ARGUMENT, std::string(name) + " is '" + std::string(variable(name)) +
                                         "', expected " + std::string(expected));
}

// A value of the environment that is one of two words, or not there.
std::string_view choice(const char *name, std::string_view first, std::string_view second) {
  const std::string_view value = variable(name);
  if (!value.empty() && value != first && value != second) {
    refuse_variable(name, std::string(first) + " or " + std::string(second));
  }
  return value;
}

std::vector<std::string> introduced;

std::vector<std::string> command_line() {
  if (!introduced.empty()) return introduced;
  char bytes[512];
  const int fd = ::open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  const auto count = fd >= 0 ? ::read(fd, bytes, sizeof bytes) : 0;
  if (fd >= 0) ::close(fd);
  std::vector<std::string> words;
  std::string_view rest(bytes, count > 0 ? static_cast<std::size_t>(count) : 0);
  while (!rest.empty()) {
    const auto end = rest.find('\0');
    words.emplace_back(rest.substr(0, end));
    rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
  }
  return words;
}

// "node server.js": the command line, its first word without the folders.
std::string program_name() {
  std::string name;
  for (const auto &word : command_line()) {
    name.append(name.empty() ? word.substr(word.rfind('/') + 1) : " " + word);
  }
  return wire::to_utf8(name,
                       wire::longest_name);  // an argument may be any bytes, and the cut may be anywhere
}

std::string mode_keys() {
  const std::string_view forced = choice("GRIDCENTRIC_CLONE_MODE", "pidns", "plain");
  if (!forced.empty()) {
    return " mode=" + std::string(forced) +
           " why=" + wire::percent_encode("forced by GRIDCENTRIC_CLONE_MODE");
  }
  const auto probe = live_clone::probe();
  return std::string(" mode=") + live_clone::mode_name(probe.mode) +
         " why=" + wire::percent_encode(probe.why.empty() ? "probed" : wire::to_utf8(probe.why, longest_why));
}

// GRIDCENTRIC_ATTACH=FAMILY/VMID -> "as FAMILY VMID"
std::string test_handshake(std::string_view value) {
  const auto slash = value.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == value.size() ||
      value.find_first_of(" \n") != std::string_view::npos) {
    refuse_variable("GRIDCENTRIC_ATTACH", "FAMILY/VMID");
  }
  return "as " + std::string(value.substr(0, slash)) + " " + std::string(value.substr(slash + 1));
}

}  // namespace

FoundsNothing::FoundsNothing() { thread_founds_nothing = true; }

FoundsNothing::~FoundsNothing() { thread_founds_nothing = false; }

bool founds_nothing() noexcept { return thread_founds_nothing; }

void ask_only() noexcept { asks_only = true; }

void ask_about(int pid, const std::string &host_path) {
  asks_about = pid;
  ::setenv("GRIDCENTRIC_HOST", ("unix:" + host_path).c_str(), 1);
}

bool only_asks() noexcept { return asks_only; }

void introduce_as(std::vector<std::string> command) { introduced = std::move(command); }

std::string attach_handshake(const Identity *known, bool forked_child) {
  if (const auto value = variable("GRIDCENTRIC_ATTACH"); !value.empty()) return test_handshake(value);
  if (asks_about != 0) return "ask pid=" + std::to_string(asks_about);
  if (only_asks() || founds_nothing() || (known != nullptr && (known->vmid != 0 || forked_child)))
    return "ask";
  std::string line = "attach";
  if (const auto on_exit = choice("GRIDCENTRIC_ON_MASTER_EXIT", "end", "keep"); !on_exit.empty()) {
    line.append(" on_exit=").append(on_exit);
  }
  if (const std::string name = program_name(); !name.empty())
    line.append(" name=").append(wire::percent_encode(name));
  return line + mode_keys();
}

bool attaches(const std::string &handshake) { return handshake.starts_with("attach"); }

Identity parse_greeting(const std::string &greeting) {
  Fields fields(greeting);
  Identity identity;
  identity.family = fields.text();
  identity.vmid = fields.number();
  identity.ip = fields.text();
  identity.parent = fields.number_or(-1);
  identity.hypervisor = fields.text();
  fields.end();
  return identity;
}

}  // namespace gridcentric::guest
