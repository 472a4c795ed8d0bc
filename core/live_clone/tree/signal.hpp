// The root's signal to a process of its tree: what it carries.
#pragma once

#include <cstdint>

namespace gridcentric::live_clone::tree {

/// Where the page is: a descriptor of the root, which is found by its pid in /proc.
struct SignalValue {
  int fd, root_proc_pid;

  static constexpr int fd_at = 28, magic_at = 52;
  static constexpr uint64_t magic = 0x6c7;

  uint64_t packed() const { return magic << magic_at | uint64_t(fd) << fd_at | uint64_t(root_proc_pid); }
  static bool unpack(uint64_t value, SignalValue *to) {
    to->fd = int(value >> fd_at & ((1u << (magic_at - fd_at)) - 1));
    to->root_proc_pid = int(value & ((1u << fd_at) - 1));
    return value >> magic_at == magic;
  }
};

}  // namespace gridcentric::live_clone::tree
