#include "core/hypervisors/process/refusers.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/hypervisors/process_facts.hpp"

namespace gridcentric {
namespace {

constexpr int at_a_time = 32;  // connections or datagrams, before the loop sees to others

bool switch_on(int fd, int level, int option, int value = 1) {
  return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

bool bind_to(int fd, std::uint32_t address, const BoundPort &where) {
  if (!where.v6) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(where.port);
    a.sin_addr.s_addr = htonl(address);
    return bind(fd, reinterpret_cast<const sockaddr *>(&a), sizeof a) == 0;
  }
  sockaddr_in6 a{};  // ::ffff:127.77.x.y, as the clone's own is
  a.sin6_family = AF_INET6;
  a.sin6_port = htons(where.port);
  a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
  const std::uint32_t in_order = htonl(address);
  std::memcpy(&a.sin6_addr.s6_addr[12], &in_order, sizeof in_order);
  return bind(fd, reinterpret_cast<const sockaddr *>(&a), sizeof a) == 0;
}

// The group's filter: one of its first `clones` sockets, which are the clone's as they were there first. When one of them
// is closed, the last of the group takes its place.
bool prefer_first(int fd, unsigned clones) {
  sock_filter choose[] = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_RXHASH)},
      {BPF_ALU | BPF_MOD | BPF_K, 0, 0, clones},
      {BPF_RET | BPF_A, 0, 0, 0},
  };
  const sock_fprog filter{std::size(choose), choose};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter, sizeof filter) == 0;
}

// The socket, or -1.
int make_refuser(std::uint32_t address, const BoundPort &where, unsigned clones) {
  const int fd = socket(where.v6 ? AF_INET6 : AF_INET,
                        (where.tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const bool made = switch_on(fd, SOL_SOCKET, SO_REUSEADDR) && switch_on(fd, SOL_SOCKET, SO_REUSEPORT) &&
                    (!where.v6 || switch_on(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) &&
                    bind_to(fd, address, where) && (!where.tcp || listen(fd, SOMAXCONN) == 0) &&
                    prefer_first(fd, clones);
  if (made) return fd;
  close(fd);
  return -1;
}

// Clones matter more than what happens after their end: half of the descriptors are for them.
std::size_t most_refusers() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<std::size_t>(limit.rlim_cur / 2) : 0;
}

int accept_one(int fd) {
  const int accepted = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
  if (accepted >= 0 || (errno != EMFILE && errno != ENFILE)) return accepted;
  SpareDescriptor spare;
  return accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
}

}  // namespace

Refusers::~Refusers() {
  for (const auto &[address, held] : held_) close_all(held);
}

void Refusers::place(std::uint32_t address, DomainKey family, const std::vector<BoundPort> &ports) {
  const std::size_t most = most_refusers();
  Held &held = held_[address];
  held.family = family;
  for (std::size_t i = 0; i < ports.size() && in_use_ < most; ++i) {
    if (std::find(ports.begin(), ports.begin() + static_cast<std::ptrdiff_t>(i), ports[i]) !=
        ports.begin() + static_cast<std::ptrdiff_t>(i))
      continue;  // several sockets of the clone's, one refuser behind them
    const auto clones = static_cast<unsigned>(std::count(ports.begin(), ports.end(), ports[i]));
    const int fd = make_refuser(address, ports[i], clones);
    if (fd < 0) continue;
    ++in_use_;
    held.sockets.push_back(fd);
    loop_.watch(fd, [this, fd, tcp = ports[i].tcp] { turn_away(fd, tcp); });
  }
}

void Refusers::turn_away(int socket, bool tcp) {
  for (int i = 0; i < at_a_time; ++i) {
    if (!tcp) {
      char byte;
      if (recv(socket, &byte, 1, MSG_DONTWAIT) < 0) return;
      continue;
    }
    const int accepted = accept_one(socket);
    if (accepted < 0) return;
    const linger reset{1, 0};
    setsockopt(accepted, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(accepted);
  }
}

void Refusers::close_all(const Held &held) {
  for (const int fd : held.sockets) {
    loop_.unwatch(fd);
    close(fd);
  }
  in_use_ -= held.sockets.size();
}

void Refusers::remove(std::uint32_t address) {
  const auto found = held_.extract(address);
  if (!found.empty()) close_all(found.mapped());
}

void Refusers::remove_family(DomainKey family) {
  std::erase_if(held_, [this, family](const auto &entry) {
    if (entry.second.family != family) return false;
    close_all(entry.second);
    return true;
  });
}

}  // namespace gridcentric
