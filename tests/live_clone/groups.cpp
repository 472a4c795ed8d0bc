// Multicast: a socket that is bound to a group's address is a member in clones too; others are reported.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "testee.hpp"

using namespace testee;

namespace {

constexpr const char *group_v4 = "239.77.1.2", *group_v6 = "ff01::77";

// An interface for sending: for IPv6 there may be none, and lo is not one.
unsigned interface_of(int family) {
  if (family == AF_INET) return if_nametoindex("lo");
  static unsigned found = 0;
  struct if_nameindex *all = if_nameindex();
  for (auto *i = all; !found && i->if_index; i++) {
    const int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(9);
    to.sin6_scope_id = i->if_index;
    inet_pton(AF_INET6, group_v6, &to.sin6_addr);
    if (sendto(fd, "x", 1, 0, (sockaddr *)&to, sizeof to) == 1) found = i->if_index;
    close(fd);
  }
  if_freenameindex(all);
  return found;
}

struct Address {
  sockaddr_storage bytes{};
  socklen_t size;
  Address(int family, const char *text, uint16_t port) {
    auto *four = (sockaddr_in *)&bytes;
    auto *six = (sockaddr_in6 *)&bytes;
    bytes.ss_family = (sa_family_t)family;
    if (family == AF_INET) {
      four->sin_port = htons(port);
      inet_pton(AF_INET, text, &four->sin_addr);
      size = sizeof *four;
    } else {
      six->sin6_port = htons(port);
      six->sin6_scope_id = interface_of(family);
      inet_pton(AF_INET6, text, &six->sin6_addr);
      size = sizeof *six;
    }
  }
  const sockaddr *operator&() const { return (const sockaddr *)&bytes; }
};

int member(int family, const char *bound, const char *group) {
  const int fd = socket(family, SOCK_DGRAM, 0), one = 1;
  const Address address(family, bound, 0), to(family, group, 0);
  group_req request{};
  request.gr_interface = interface_of(family);
  memcpy(&request.gr_group, &to, to.size);
  const int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, &address, address.size) != 0 ||
      setsockopt(fd, level, MCAST_JOIN_GROUP, &request, sizeof request) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

// Every process sends until it has received its own message.
void receives(int fd, int family, const char *group, uint16_t port, int index) {
  const int sender = socket(family, SOCK_DGRAM, 0), interface_v6 = (int)interface_of(family);
  const in_addr interface { htonl(INADDR_LOOPBACK) };
  if (family == AF_INET)
    CHECK(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface) == 0);
  else
    CHECK(setsockopt(sender, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface_v6, sizeof interface_v6) == 0);
  const Address to(family, group, port);
  const std::string mine = "of " + std::to_string(index);
  for (bool got = false; !got;) {
    CHECK(sendto(sender, mine.data(), mine.size(), 0, &to, to.size) == (ssize_t)mine.size());
    char text[32];
    for (pollfd p{fd, POLLIN, 0}; !got && poll(&p, 1, 20) == 1;) {
      const ssize_t n = recv(fd, text, sizeof text, 0);
      CHECK(n > 0);
      got = std::string(text, (size_t)n) == mine;
    }
  }
  close(sender);
}

void joins(int family, const char *group) {
  if (!interface_of(family)) return (void)clone_here();  // a container without IPv6
  const int fd = member(family, group, group), off = 0;
  if (family == AF_INET)  // only groups that the socket itself is a member of
    CHECK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof off) == 0);
  CHECK(fd >= 0);
  const uint16_t port = port_of(fd);
  receives(fd, family, group, port, 9);
  const int index = clone_here();
  CHECK(!degraded("UDP"));
  CHECK_EQ(port_of(fd), port);
  for (const auto &bound : outcome().ports) CHECK(bound.port != port);
  receives(fd, family, group, port, index);
  if (index) return;
  wait_for_clones();
  receives(fd, family, group, port, 8);
}

}  // namespace

TESTEE(multicast_socket_of_a_group_joins_in_clones) { joins(AF_INET, group_v4); }
TESTEE(multicast6_socket_of_a_group_joins_in_clones) { joins(AF_INET6, group_v6); }

TESTEE(multicast_keeps_its_filter_of_senders) {
  const int fd = member(AF_INET, group_v4, group_v4);
  CHECK(fd >= 0);
  const Address group(AF_INET, group_v4, 0), sender(AF_INET, "127.0.0.9", 0);
  group_source_req block{};
  block.gsr_interface = if_nametoindex("lo");
  memcpy(&block.gsr_group, &group, group.size);
  memcpy(&block.gsr_source, &sender, sender.size);
  CHECK(setsockopt(fd, IPPROTO_IP, MCAST_BLOCK_SOURCE, &block, sizeof block) == 0);
  clone_here();
  CHECK(setsockopt(fd, IPPROTO_IP, MCAST_UNBLOCK_SOURCE, &block, sizeof block) == 0);
}

TESTEE(multicast_socket_of_any_address_is_named) {
  const int fd = member(AF_INET, "0.0.0.0", group_v4), copy = dup(fd);
  CHECK(fd >= 0);
  const uint16_t port = port_of(fd);
  const int ttl = 7;
  CHECK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl) == 0);
  const int index = clone_here();
  const std::string named = ": UDP socket, clones receive nothing from group 239.77.1.2";
  CHECK(degraded("descriptor " + std::to_string(fd) + named));
  CHECK(!degraded("descriptor " + std::to_string(copy)));
  int kept = 0;
  socklen_t size = sizeof kept;
  CHECK(getsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &kept, &size) == 0);
  CHECK_EQ(kept, ttl);
  if (!index) receives(fd, AF_INET, group_v4, port, index);
}
