// See groups.hpp. No call lists the groups of a socket, but one tells whether it is a member of a given group.
#include "groups.hpp"

#include <string.h>
#include <sys/socket.h>

#include "engine.hpp"
#include "socket_name.hpp"

namespace gridcentric::live_clone {
namespace {

constexpr unsigned most_senders = 1024;  // in a filter; the kernel's default limit is 10

int level_of(const Group &group) { return group.generic.sa_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP; }

void set_group(const Group &group, void *place) {
  memcpy(place, &group.generic, group.generic.sa_family == AF_INET6 ? sizeof group.v6 : sizeof group.v4);
}

long filter_of(int fd, const Group &group, group_filter *filter, unsigned senders) {
  filter->gf_interface = group.interface;
  set_group(group, &filter->gf_group);
  filter->gf_numsrc = senders;
  unsigned size = (unsigned)GROUP_FILTER_SIZE(senders);
  return sys(SYS_getsockopt, fd, level_of(group), MCAST_MSFILTER, filter, &size);
}

// "4 eth0 : 1 V3", and then for each group "\t\t\t\t010000E0 1 ...", with the bytes as they lie in memory.
bool next_v4(const char **text, Group *group) {
  while (**text) {
    const char *p = *text;
    *text = next_line(p);
    unsigned long v = 0;
    if (*p >= '0' && *p <= '9') {
      parse_dec(p, &v);
      group->interface = (uint32_t)v;
    } else if (*p == '\t') {
      while (*p == '\t') p++;
      parse_hex(p, &v);
      group->v4.sin_family = AF_INET;
      group->v4.sin_addr.s_addr = (uint32_t)v;
      return true;
    }
  }
  return false;
}

// "4 eth0 ff020000000000000000000000000001 1 ..."
bool next_v6(const char **text, Group *group) {
  while (**text) {
    const char *p = *text;
    *text = next_line(p);
    unsigned long v = 0;
    p = parse_dec(p, &v);
    group->interface = (uint32_t)v;
    while (*p == ' ') p++;
    while (*p && *p != ' ') p++;
    while (*p == ' ') p++;
    group->v6.sin6_family = AF_INET6;
    for (uint8_t &byte : group->v6.sin6_addr.s6_addr) {
      const char digits[3] = {p[0], p[0] ? p[1] : '\0', 0};
      if (*parse_hex(digits, &v) || !digits[1]) return false;
      byte = (uint8_t)v;
      p += 2;
    }
    return true;
  }
  return false;
}

}  // namespace

bool next_group(const char **text, bool v6, Group *group) {
  return v6 ? next_v6(text, group) : next_v4(text, group);
}

bool is_member(int fd, const Group &group) {
  group_filter filter{};
  return filter_of(fd, group, &filter, 0) == 0;
}

bool receives_a_group_alone(int fd) {
  SocketName a{};
  if (peer_name(fd, &a) || !own_name(fd, &a)) return false;
  return a.is_v6() ? IN6_IS_ADDR_MULTICAST(&a.v6.sin6_addr) : IN_MULTICAST(ntohl(a.v4.sin_addr.s_addr));
}

long join_as(int from, int to, const Group &group) {
  group_req request{};
  request.gr_interface = group.interface;
  set_group(group, &request.gr_group);
  const long joined = sys(SYS_setsockopt, to, level_of(group), MCAST_JOIN_GROUP, &request, sizeof request);
  auto *filter = reinterpret_cast<group_filter *>(engine.scratch);
  if (joined < 0 || filter_of(from, group, filter, most_senders) < 0) return joined;
  if (filter->gf_fmode == MCAST_EXCLUDE && !filter->gf_numsrc) return 0;
  return sys(SYS_setsockopt, to, level_of(group), MCAST_MSFILTER, filter,
             GROUP_FILTER_SIZE(filter->gf_numsrc));
}

Text &tell_lost_group(Text &text, int fd, const Group &group) {
  text << "descriptor " << fd << ": UDP socket, clones receive nothing from group ";
  if (group.generic.sa_family == AF_INET6)
    text.address(group.v6.sin6_addr.s6_addr);
  else
    text.address(ntohl(group.v4.sin_addr.s_addr));
  return text << " (interface " << group.interface << ") unless the socket is bound to the group's address";
}

}  // namespace gridcentric::live_clone
