#include "loop.hpp"

#include <poll.h>
#include <signal.h>
#include <uv.h>

#include <climits>
#include <string>
#include <utility>
#include <vector>

namespace gridcentric::node {
namespace {

constexpr int no_pid = INT_MAX;  // more than the largest pid on Linux

std::vector<uv_handle_t *> handles_of(Napi::Env env) {
  uv_loop_t *loop = nullptr;
  std::vector<uv_handle_t *> all;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return all;
  uv_walk(
      loop,
      [](uv_handle_t *handle, void *found) {
        if (!uv_is_closing(handle)) static_cast<std::vector<uv_handle_t *> *>(found)->push_back(handle);
      },
      &all);
  return all;
}

bool is_stream(const uv_handle_t *handle) {
  const uv_handle_type type = uv_handle_get_type(handle);
  return type == UV_TCP || type == UV_NAMED_PIPE || type == UV_TTY;
}

}  // namespace

void forget_children(Napi::Env env) {
  for (uv_handle_t *handle : handles_of(env)) {
    if (uv_handle_get_type(handle) != UV_PROCESS || !uv_is_active(handle)) continue;
    reinterpret_cast<uv_process_t *>(handle)->pid = no_pid;
  }
}

bool end_child(Napi::Env env) {
  for (uv_handle_t *handle : handles_of(env)) {
    auto *child = reinterpret_cast<uv_process_t *>(handle);
    if (uv_handle_get_type(handle) != UV_PROCESS || child->pid != no_pid || !child->exit_cb) continue;
    const uv_exit_cb ended =
        std::exchange(child->exit_cb, nullptr);  // once, even if its owner does not close it
    ended(child, 0, SIGKILL);
    return true;
  }
  return false;
}

std::string unfinished_ends(Napi::Env env, bool &unread) {
  std::vector<uv_handle_t *> streams;
  std::vector<pollfd> polled;
  for (uv_handle_t *handle : handles_of(env)) {
    uv_os_fd_t fd = -1;
    if (!is_stream(handle) || uv_fileno(handle, &fd) != 0) continue;
    streams.push_back(handle);
    polled.push_back({fd, POLLRDHUP, 0});
  }
  std::string text;
  unread = false;
  if (::poll(polled.data(), polled.size(), 0) <= 0) return text;
  for (size_t at = 0; at < streams.size(); ++at) {
    if ((polled[at].revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0) continue;
    auto *stream = reinterpret_cast<uv_stream_t *>(streams[at]);
    const bool reading = uv_is_readable(stream) && uv_is_active(streams[at]);
    unread = unread || reading;
    text += std::to_string(polled[at].fd) + (reading ? "r" : "") + (uv_is_writable(stream) ? "w" : "") +
            std::to_string(uv_stream_get_write_queue_size(stream)) + ' ';
  }
  return text;
}

}  // namespace gridcentric::node
