// Multicast groups of UDP sockets: which there are, whether a clone can be a member too, and how it is said when it can't. For
// plan (sockets.cpp) and preflight. Knows /proc/net/igmp and igmp6.
#pragma once

#include <netinet/in.h>

#include "sys.hpp"

namespace gridcentric::live_clone {

/// A group on an interface.
struct Group {
  uint32_t interface;
  union {
    sockaddr generic;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
};

/// The files of a process's folder of /proc that list the groups that it may be in.
inline constexpr const char *group_files[] = {"net/igmp", "net/igmp6"};

/// Goes through the text of one of these files: sets the next group, or is false at its end. `group` is all zero at first.
bool next_group(const char **text, bool v6, Group *group);

bool is_member(int fd, const Group &group);

/// Is it bound to a group's address? Then it gets nothing else, and a clone's can be bound to the same and join as well.
bool receives_a_group_alone(int fd);

/// Makes `to` a member as `from` is, with the same filter of senders; or -errno.
long join_as(int from, int to, const Group &group);

/// For people: a clone's socket can't be a member.
Text &tell_lost_group(Text &text, int fd, const Group &group);

}  // namespace gridcentric::live_clone
