#include "core/hypervisors/addresses.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace gridcentric {
namespace {

constexpr std::uint32_t network = 127u << 24 | 77u << 16;
constexpr int blocks = 256;
constexpr std::uint32_t last_of_block = 254;

}  // namespace

Addresses::~Addresses() {
  for (const int lease : leases_) close(lease);
}

std::vector<std::uint32_t> Addresses::take(std::size_t count, std::string *error) {
  while (free_.size() < count)
    if (!lease_block(error)) return {};
  std::vector<std::uint32_t> taken(free_.begin(), free_.begin() + static_cast<std::ptrdiff_t>(count));
  free_.erase(free_.begin(), free_.begin() + static_cast<std::ptrdiff_t>(count));
  return taken;
}

bool Addresses::lease_block(std::string *error) {
  const int lease = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (lease < 0) {
    *error = std::string("cannot lease addresses: ") + std::strerror(errno);
    return false;
  }
  for (; next_block_ < blocks; ++next_block_) {
    const std::string name = lease_name_ + std::to_string(next_block_);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());  // abstract: begins with a 0 byte
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    if (bind(lease, reinterpret_cast<const sockaddr *>(&address), size) != 0) continue;
    leases_.push_back(lease);
    for (std::uint32_t i = 1; i <= last_of_block; ++i)
      free_.push_back(network | static_cast<std::uint32_t>(next_block_) << 8 | i);
    ++next_block_;
    return true;
  }
  close(lease);
  next_block_ = 0;  // another host's may be free when somebody asks again
  *error =
      "all addresses of 127.77.0.0/16 are in use on this machine: end clones or hosts that are not needed";
  return false;
}

std::string address_text(std::uint32_t address) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8)
    text += std::to_string(address >> shift & 255) + (shift > 0 ? "." : "");
  return text;
}

}  // namespace gridcentric
