// SPDX-License-Identifier: Apache-2.0
// How a process is told to clone itself and what it answers, as values that the driver contract, the wire and the guest
// exchange. It must not know how they are written.
#pragma once
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace gridcentric {

// A descriptor that is closed with its owner; -1: none.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd &&other) noexcept : fd_(other.release()) {}
  OwnedFd &operator=(OwnedFd &&other) noexcept {
    reset(other.release());
    return *this;
  }
  ~OwnedFd() { reset(); }

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    const int old = std::exchange(fd_, fd);
    if (old >= 0 && old != fd) ::close(old);
  }

 private:
  int fd_ = -1;
};

struct CloneOrder {
  struct Clone {
    int vmid = 0;
    std::string address;  // IPv4, numeric
  };
  std::string mode;  // how the process clones itself: "pidns" or "plain"
  std::vector<Clone> clones;
};

// Where an internet socket of a clone receives: a listener, or a UDP socket that is not connected.
struct BoundPort {
  bool tcp = false, v6 = false;
  std::uint16_t port = 0;
  bool operator==(const BoundPort &) const = default;
};
inline constexpr std::size_t most_bound_ports = 1'000;  // in one order

// A process's answers to an order, in this sequence: Held, for some or all of the clones; Bound, for each of their ports;
// Forked. Or Failed at any time.
namespace clone_answer {
struct Held {
  std::vector<OwnedFd> pidfds;  // in the order of the vmids; the clones wait at a gate
};
struct Bound {
  BoundPort port;
};
struct Forked {
  std::int64_t clones = 0;  // as many as were ordered
};
struct Failed {
  int error = 0;  // an errno value
  std::string reason;
};
}  // namespace clone_answer
using CloneAnswer =
    std::variant<clone_answer::Held, clone_answer::Bound, clone_answer::Forked, clone_answer::Failed>;

}  // namespace gridcentric
