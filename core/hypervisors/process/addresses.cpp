#include "core/hypervisors/process/addresses.hpp"

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

constexpr int taken = -1, no_descriptor = -2;

socklen_t fill(sockaddr_un *address, const std::string &name) {
  *address = {};
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path + 1, name.data(), name.size());  // abstract: begins with a 0 byte
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

// A socket of this name that listens, so that its owner can be told; else why not: taken, or no_descriptor with *error set.
int bind_name(const std::string &name, std::string *error) {
  const int lease = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (lease < 0) {
    *error = std::string("cannot lease addresses: ") + std::strerror(errno);
    return no_descriptor;
  }
  sockaddr_un address;
  const socklen_t size = fill(&address, name);
  if (bind(lease, reinterpret_cast<const sockaddr *>(&address), size) == 0 && listen(lease, SOMAXCONN) == 0)
    return lease;
  close(lease);
  return taken;
}

// Does a host of our own user hold this name? A host listens on it; what does not, or takes no connection, is none.
bool is_held_by_us(const std::string &name) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return true;  // not known: touch nothing
  sockaddr_un address;
  const socklen_t size = fill(&address, name);
  ucred holder{};
  socklen_t length = sizeof holder;
  const bool ours = connect(fd, reinterpret_cast<const sockaddr *>(&address), size) == 0 &&
                    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &holder, &length) == 0 && holder.uid == geteuid();
  close(fd);
  return ours;
}

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

void Addresses::add_block(int block, int lease) {
  if (lease >= 0) leases_.push_back(lease);
  held_[static_cast<std::size_t>(block)] = true;
  for (std::uint32_t i = 1; i <= last_of_block; ++i)
    free_.push_back(network | static_cast<std::uint32_t>(block) << 8 | i);
}

bool Addresses::lease_block(std::string *error) {
  for (; next_block_ < blocks; ++next_block_) {
    const int lease = bind_name(lease_name_ + std::to_string(next_block_), error);
    if (lease == no_descriptor) return false;
    if (lease < 0) continue;
    add_block(next_block_++, lease);
    return true;
  }
  next_block_ = 0;  // another host's may be free when somebody asks again
  if (share_block(error)) return true;
  *error =
      "all addresses of 127.77.0.0/16 are in use on this machine: end clones or hosts that are not needed";
  return false;
}

// Names of sockets are anybody's: a user who binds them all must not keep others from cloning. So a block that another user
// holds is shared with that user, under a name that has ours in it; with a real host of theirs a server may then find its
// address in use, which it says.
bool Addresses::share_block(std::string *error) {
  const std::string mine = "@" + std::to_string(geteuid());
  const auto first =
      static_cast<int>(static_cast<unsigned>(getpid()) % blocks);  // hosts begin in different places
  for (int i = 0; i < blocks; ++i) {
    const int block = (first + i) % blocks;
    if (held_[static_cast<std::size_t>(block)]) continue;
    const std::string name = lease_name_ + std::to_string(block);
    if (is_held_by_us(name)) continue;
    const int lease = bind_name(name + mine, error);
    if (lease == no_descriptor) return false;
    if (lease < 0 && is_held_by_us(name + mine)) continue;
    add_block(block, lease);
    return true;
  }
  return false;
}

}  // namespace gridcentric
