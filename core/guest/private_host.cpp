#include "core/guest/private_host.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "core/guest/attach.hpp"
#include "core/guest/client.hpp"
#include "core/guest/connection.hpp"
#include "core/guest/machine_page.hpp"
#include "core/guest/spawn.hpp"

namespace gridcentric::guest {
namespace {

constexpr int start_wait_ms = 10'000;
constexpr std::string_view scheme = "unix:";

// GRIDCENTRIC_HOST is how children learn of the host, and it becomes known while other threads may read the environment.
// setenv() would move the environment under them. So the variable is there, empty, from the time this library is loaded, with
// room for a value that is written in place.
constexpr char host_variable[] = "GRIDCENTRIC_HOST";
constexpr std::size_t longest_value = 127;  // "unix:" and a path of sockaddr_un
char *room = nullptr;  // "GRIDCENTRIC_HOST=" and the value; never freed, as the environment points to it

__attribute__((constructor)) void make_room() {
  if (names_host()) return;
  room = static_cast<char *>(std::calloc(1, sizeof host_variable + longest_value + 1));
  if (room == nullptr) return;
  std::memcpy(room, host_variable, sizeof host_variable - 1);
  room[sizeof host_variable - 1] = '=';
  ::putenv(room);
}

void tell_children(const std::string &value) {
  char *place = room != nullptr ? room + sizeof host_variable : nullptr;
  if (place == nullptr || std::getenv(host_variable) != place || value.size() > longest_value) {
    ::setenv(host_variable, value.c_str(), 1);  // the program has replaced its environment since
    return;
  }
  // The first byte last: until then the variable is empty to whoever reads it.
  std::atomic_ref<char>(*place).store('\0', std::memory_order_release);
  std::memcpy(place + 1, value.data() + 1, value.size() - 1);
  std::memset(place + value.size(), 0, longest_value - value.size());
  std::atomic_ref<char>(*place).store(value[0], std::memory_order_release);
}

// What the host says on its channel: complaints (its stderr goes there too), then a line with the path of its socket.
std::string read_path(int channel, const std::string &gc) {
  std::string said;
  std::size_t begin = 0;
  for (;;) {
    for (auto end = said.find('\n', begin); end != std::string::npos; end = said.find('\n', begin)) {
      if (said[begin] == '/') return said.substr(begin, end - begin);
      begin = end + 1;
    }
    pollfd entry{channel, POLLIN, 0};
    const int ready = ::poll(&entry, 1, start_wait_ms);
    if (ready < 0 && errno == EINTR) continue;
    char chunk[1024];
    const auto count = ready > 0 ? ::recv(channel, chunk, sizeof chunk, 0) : 0;
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const std::string reason = !said.empty() ? "it said: " + said.substr(0, 500)
                                 : ready == 0  ? "it named no socket within 10 s"
                                               : "it ended without a word";
      throw Error(GC_E_HOST_UNREACHABLE,
                  "the private host '" + gc + " host --private' did not start: " + reason);
    }
    said.append(chunk, static_cast<std::size_t>(count));
  }
}

std::string start_private_host() {
  const std::string gc = find_gc();
  if (gc.empty()) {
    throw Error(
        GC_E_HOST_UNREACHABLE,
        "there is no GRIDCENTRIC_HOST, and no gc command to start a private host with, neither beside the "
        "library "
        "nor on PATH: set GRIDCENTRIC_GC to its path, or GRIDCENTRIC_HOST to unix:PATH of a running host");
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    throw Error(GC_E_HOST_UNREACHABLE, "cannot start a private host: " + system_text(errno));
  }
  const int error = start_helper({.path = gc,
                                  .arguments = {"gc", "host", "--private", "3"},
                                  .environment = environment_with({}),
                                  .channel = ends[1],
                                  .quiet = true});
  ::close(ends[1]);
  try {
    if (error != 0) {
      throw Error(GC_E_HOST_UNREACHABLE,
                  "cannot start a private host with '" + gc + "': " + system_text(error));
    }
    std::string path = read_path(ends[0], gc);
    ::close(ends[0]);
    return path;
  } catch (...) {
    ::close(ends[0]);
    throw;
  }
}

}  // namespace

bool names_host() noexcept {
  const char *named = std::getenv(host_variable);
  return named != nullptr && *named != '\0';
}

std::string find_or_start_host() {
  if (names_host()) {
    const std::string_view value = std::getenv(host_variable);
    if (!value.starts_with(scheme) || value.size() == scheme.size()) {
      throw Error(GC_E_HOST_UNREACHABLE,
                  "GRIDCENTRIC_HOST is '" + std::string(value) + "', expected unix:/path/of/socket");
    }
    return std::string(value.substr(scheme.size()));
  }
  if (in_machine()) return machine_host_path;
  if (only_asks()) {
    throw Error(GC_E_NOT_IN_DOMAIN,
                "this shell is in no domain (there is no GRIDCENTRIC_HOST): start the program with 'gc run "
                "-- COMMAND'");
  }
  return start_host();
}

std::string start_host() {
  std::string path = start_private_host();
  tell_children(std::string(scheme) + path);
  return path;
}

}  // namespace gridcentric::guest
