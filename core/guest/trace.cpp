#include "core/guest/trace.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace gridcentric::guest {

void trace_cloning(const live_clone::Order &order, const live_clone::Outcome &outcome) {
  const char *path = std::getenv("GRIDCENTRIC_TRACE");
  if (path == nullptr || *path == '\0') return;
  const auto &times = outcome.times;
  char line[1024];
  const int size = std::snprintf(
      line, sizeof line,
      "{\"pid\": %d, \"mode\": \"%s\", \"clones\": %zu, \"threads\": %zu, \"descriptors\": %zu, "
      "\"degraded\": %zu, "
      "\"preflight_ms\": %.3f, \"park_ms\": %.3f, \"plan_ms\": %.3f, \"dofork_ms\": %.3f, "
      "\"descriptors_ms\": %.3f, "
      "\"locks_ms\": %.3f, \"fork_ms\": %.3f, \"pause_ms\": %.3f, \"ready_ms\": %.3f, \"clone_memory_ms\": "
      "%.3f, "
      "\"clone_descriptors_ms\": %.3f, \"clone_threads_ms\": %.3f}\n",
      static_cast<int>(::getpid()), live_clone::mode_name(order.mode), order.addresses.size(),
      outcome.threads, outcome.descriptors, outcome.degraded.size(), times.preflight_ms, times.park_ms,
      times.plan_ms, times.dofork_ms, times.descriptors_ms, times.locks_ms, times.fork_ms, times.pause_ms,
      times.ready_ms, times.clone_memory_ms, times.clone_descriptors_ms, times.clone_threads_ms);
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0 || ::write(fd, line, static_cast<std::size_t>(size)) != size) {
    std::fprintf(stderr, "gridcentric: cannot write GRIDCENTRIC_TRACE=%s: %s\n", path, std::strerror(errno));
  }
  if (fd >= 0) ::close(fd);
}

}  // namespace gridcentric::guest
