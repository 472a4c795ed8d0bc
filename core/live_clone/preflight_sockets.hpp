// The part of the preflight that looks at sockets: what the plan (sockets.cpp, tcp_pairs.cpp, unix_sockets.cpp) would refuse,
// and what clones would lack.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "live_clone.hpp"
#include "preflight_open_files.hpp"
#include "tcp_ends.hpp"

namespace gridcentric::live_clone {

class SocketsSeen {
 public:
  /// Of the process of this folder of /proc; `pid` as this process has to call it.
  SocketsSeen(std::string proc, int pid, bool self, const Surroundings &around)
      : proc_(std::move(proc)), pid_(pid), self_(self), around_(around) {}

  /// `inode`: of its link, "socket:[INODE]". Only refusals matter of one that is `shared` with the master or seen before.
  void look_at(int fd, const std::string &link, bool shared);

  /// When all have been looked at.
  std::vector<Refusal> refusals() const { return refusals_; }
  std::vector<std::string> notes();

 private:
  struct InFlight {
    int fd;
    uint32_t inode;
  };
  struct End {
    int fd;
    Connection connection;
  };
  struct Listener {
    int fd;
    Endpoint at;
  };
  using Pair = std::pair<int, int>;  // descriptors, the lower one first
  int copy_of(int fd) const;
  template <typename Look>
  bool look_again(int fd, Look look) const;
  void look_at_tcp(int fd, int own, bool listens);
  void look_at_groups(int fd, int own);
  const char *why_pair_is_dead(const Pair &pair, bool *passes);
  void note_pairs(std::vector<Pair> pairs);
  void note_connections();
  bool waits_for_longer(int listener) const;
  void note(int fd, const std::string &what);

  const std::string proc_;
  const int pid_;
  const bool self_;
  const Surroundings &around_;
  size_t unseen_ = 0;
  std::vector<uint32_t> inodes_;
  std::vector<InFlight> in_flight_;
  std::vector<End> ends_;                 // of TCP connections
  std::vector<Listener> listeners_;       // that have connections which nobody has accepted
  uint64_t in_all_ = 0;                   // bytes under way in connections of the program to itself
  std::vector<std::string> group_texts_;  // of /proc/net/igmp and igmp6, once they have been read
  std::vector<Refusal> refusals_;
  std::vector<std::string> notes_;
};

}  // namespace gridcentric::live_clone
