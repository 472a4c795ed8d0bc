#include "core/guest/hooks.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/guest/spawn.hpp"

namespace gridcentric::guest {
namespace {

// All that `gc hook` says: the exit status in decimal and a newline. "" when it was killed before it could.
std::string read_status(int channel) {
  std::string said;
  for (;;) {
    char chunk[64];
    const auto count = ::recv(channel, chunk, sizeof chunk, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return said;
    said.append(chunk, static_cast<std::size_t>(count));
    if (said.back() == '\n') return said.substr(0, said.size() - 1);
  }
}

// The folder that GRIDCENTRIC_HOOKS names lacks the hook that is due. One that has neither is a typing error, which would
// otherwise be noticed by nobody.
HookOutcome check_folder(const std::string &folder) {
  struct stat found {};
  const std::string given = "GRIDCENTRIC_HOOKS is '" + folder + "', ";
  if (::stat(folder.c_str(), &found) != 0)
    return {127, given + std::strerror(errno) + ": expected a folder with pre-clone, post-clone or both"};
  if (!S_ISDIR(found.st_mode))
    return {126, given + "which is not a folder: expected one with pre-clone, post-clone or both"};
  for (const char *name : {"/pre-clone", "/post-clone"})
    if (::access((folder + name).c_str(), F_OK) == 0) return {};
  return {127, given + "which has neither pre-clone nor post-clone: put a hook there, or unset it"};
}

}  // namespace

HookOutcome run_hook(const std::string &name, const HookContext &context) {
  const char *named = std::getenv("GRIDCENTRIC_HOOKS");
  const std::string file =
      std::string(named != nullptr && *named != '\0' ? named : "/etc/gridcentric") + "/" + name;
  if (::access(file.c_str(), F_OK) != 0)
    return named != nullptr && *named != '\0' ? check_folder(named) : HookOutcome{};
  if (::access(file.c_str(), X_OK) != 0) {
    return {126, "the hook '" + file + "' is not executable: chmod +x it, or take it away"};
  }
  const std::string gc = find_gc();
  if (gc.empty()) {
    return {127,
            "the hook '" + file +
                "' cannot run: there is no gc command beside the library or on PATH; set GRIDCENTRIC_GC"};
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    return {126, "the hook '" + file + "' cannot run: " + std::strerror(errno)};
  }
  const auto environment = environment_with(
      {"GC_VMID=" + std::to_string(context.vmid), "GC_IP=" + context.ip, "GC_TICKET=" + context.ticket,
       std::string("GC_ROLE=") + (context.in_clone ? "clone" : "master")});
  const int error = start_helper(
      {.path = gc, .arguments = {"gc", "hook", file}, .environment = environment, .channel = ends[1]});
  ::close(ends[1]);
  const std::string said = error == 0 ? read_status(ends[0]) : "";
  ::close(ends[0]);
  if (error != 0)
    return {126, "the hook '" + file + "' cannot run under '" + gc + "': " + std::strerror(error)};
  if (said.empty())
    return {125, "the hook '" + file + "' was cut short: gc hook ended without its exit status"};
  const int status = std::atoi(said.c_str());
  if (status == 0) return {};
  return {status, "the hook '" + file + "' failed with exit status " + said};
}

}  // namespace gridcentric::guest
