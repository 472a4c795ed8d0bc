#include "core/hypervisors/qemu/agent/network.hpp"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace gridcentric::agent {
namespace {

sockaddr &as_address(sockaddr &to, in_addr address) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr = address;
  std::memcpy(&to, &in, sizeof in);
  return to;
}

in_addr in_address(const sockaddr &from) {
  sockaddr_in in{};
  std::memcpy(&in, &from, sizeof in);
  return in.sin_addr;
}

std::string error_of(const char *what) { return std::string(what) + ": " + std::strerror(errno) + "; "; }

struct Request {
  nlmsghdr header{};
  inet_diag_req_v2 body{};
};

Request diag_request(std::uint16_t type, std::uint16_t flags) {
  Request request;
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  request.body.sdiag_family = AF_INET;
  request.body.sdiag_protocol = IPPROTO_TCP;
  request.body.idiag_states = ~(1u << TCP_LISTEN);
  return request;
}

// Resets all TCP connections from this address.
std::vector<inet_diag_sockid> connections_of(int netlink, in_addr ip) {
  std::vector<inet_diag_sockid> found;
  const Request request = diag_request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  if (send(netlink, &request, sizeof request, 0) < 0) return found;
  alignas(nlmsghdr) char buffer[16384];
  for (;;) {
    const ssize_t n = recv(netlink, buffer, sizeof buffer, 0);
    if (n <= 0) return found;
    auto left = static_cast<std::size_t>(n);
    for (auto *header = reinterpret_cast<nlmsghdr *>(buffer); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) return found;
      const auto *socket = static_cast<const inet_diag_msg *>(NLMSG_DATA(header));
      if (socket->id.idiag_src[0] == ip.s_addr) found.push_back(socket->id);
    }
  }
}

std::string reset_connections(in_addr ip) {
  const int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (netlink < 0) return error_of("sock_diag");
  std::string missing;
  for (const inet_diag_sockid &connection : connections_of(netlink, ip)) {
    Request request = diag_request(SOCK_DESTROY, NLM_F_ACK);
    request.body.id = connection;
    struct {
      nlmsghdr header;
      nlmsgerr error;
      char more[256];
    } answer{};
    if (send(netlink, &request, sizeof request, 0) < 0 || recv(netlink, &answer, sizeof answer, 0) <= 0) {
      missing = error_of("SOCK_DESTROY");
    } else if (answer.error.error != 0 && answer.error.error != -ENOENT) {  // ENOENT: it has ended meanwhile
      errno = -answer.error.error;
      missing = error_of("SOCK_DESTROY");
    }
  }
  close(netlink);
  return missing;
}

}  // namespace

void loopback_up() {
  const int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  ioctl(s, SIOCSIFFLAGS, &request);
  close(s);
}

std::string set_network(const Network &network) {
  std::string missing;
  const int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  auto step = [&](const char *what, unsigned long request, void *argument) {
    if (ioctl(s, request, argument) != 0) missing += error_of(what);
  };
  ifreq request{};
  std::strcpy(request.ifr_name, "eth0");
  if (ioctl(s, SIOCGIFFLAGS, &request) != 0) {
    close(s);
    return "";  // a VM without a network card
  }
  in_addr before{};
  if (ioctl(s, SIOCGIFADDR, &request) == 0) before = in_address(request.ifr_addr);

  // virtio-net accepts a new MAC while it is up; a new address removes the old one's routes.
  unsigned m[6];
  if (std::sscanf(network.mac.c_str(), "%x:%x:%x:%x:%x:%x", m, m + 1, m + 2, m + 3, m + 4, m + 5) == 6) {
    request.ifr_hwaddr.sa_family = 1;
    for (int i = 0; i < 6; i++) request.ifr_hwaddr.sa_data[i] = static_cast<char>(m[i]);
    step("MAC", SIOCSIFHWADDR, &request);
  }
  in_addr address{};
  inet_pton(AF_INET, network.ip.c_str(), &address);
  as_address(request.ifr_addr, address);
  step("address", SIOCSIFADDR, &request);
  in_addr mask{};
  mask.s_addr = htonl(network.prefix > 0 ? ~0u << (32 - network.prefix) : 0);
  as_address(request.ifr_netmask, mask);
  step("netmask", SIOCSIFNETMASK, &request);
  request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_BROADCAST | IFF_MULTICAST;
  step("eth0 up", SIOCSIFFLAGS, &request);
  if (network.gateway != "-") {
    rtentry route{};
    inet_pton(AF_INET, network.gateway.c_str(), &address);
    as_address(route.rt_gateway, address);
    as_address(route.rt_dst, in_addr{});
    as_address(route.rt_genmask, in_addr{});
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    step("route", SIOCADDRT, &route);
  }
  close(s);
  if (before.s_addr != 0 && network.ip != inet_ntoa(before)) missing += reset_connections(before);
  return missing;
}

}  // namespace gridcentric::agent
