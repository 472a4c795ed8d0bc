// Addresses of clones: 127.77.0.0/16, leased from the machine in blocks of 254 so that several hosts share
// it. A lease is an abstract socket: it is gone with its host, however that ends. Abstract sockets and
// 127.0.0.0/8 are both of a network namespace, so that the leases reach as far as the addresses do. When others hold them all,
// blocks that other users hold are shared.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace gridcentric {

class Addresses {
 public:
  // leases: what the names of the leases begin with; tests use another, as if they had the computer to themselves.
  explicit Addresses(std::string leases = "gridcentric-net-127.77.") : lease_name_(std::move(leases)) {}
  ~Addresses();
  Addresses(const Addresses &) = delete;
  Addresses &operator=(const Addresses &) = delete;

  // `count` addresses (host byte order), the longest free ones first, all or none: empty and *error set.
  std::vector<std::uint32_t> take(std::size_t count, std::string *error);
  // Nothing answers there any more.
  void give_back(std::uint32_t address) { free_.push_back(address); }

 private:
  bool lease_block(std::string *error);
  bool share_block(std::string *error);
  void add_block(int block, int lease);

  std::string lease_name_;
  int next_block_ = 0;
  std::array<bool, 256> held_{};
  std::vector<int> leases_;
  std::deque<std::uint32_t> free_;
};

}  // namespace gridcentric
