#include "core/hypervisors/qemu/agent/rehearsal.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/hypervisors/qemu/agent/programs.hpp"

namespace gridcentric::agent {
namespace {

constexpr const char *nobody = "169.254.77.1";  // link-local (RFC 3927), used while not on the network

// A TCP connection of the VM to itself, through the address of its network card.
class Connection {
 public:
  explicit Connection(const char *ip) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    inet_pton(AF_INET, ip, &address.sin_addr);
    auto *generic = reinterpret_cast<sockaddr *>(&address);
    socklen_t size = sizeof address;
    if (bind(listener_, generic, size) != 0 || listen(listener_, 1) != 0 ||
        getsockname(listener_, generic, &size) != 0 || connect(near_, generic, size) != 0 ||
        (far_ = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) < 0)
      std::fprintf(stderr, "gc-agent: rehearsal: %s\n", std::strerror(errno));
  }
  ~Connection() {
    for (const int fd : {listener_, near_, far_})
      if (fd >= 0) close(fd);
  }
  Connection(const Connection &) = delete;
  Connection &operator=(const Connection &) = delete;

 private:
  int listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int near_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int far_ = -1;
};

}  // namespace

std::string become_rehearsed(const Identity &first) {
  freeze();
  Identity other = first;
  if (first.network.ip != "-") other.network.ip = nobody;
  become(other);
  std::string missing;
  {
    const Connection reset(other.network.ip.c_str());
    missing = become(first);
  }
  thaw();
  return missing;
}

}  // namespace gridcentric::agent
