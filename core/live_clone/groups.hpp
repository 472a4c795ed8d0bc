// Multicast groups of UDP sockets: lists them, tells whether a clone can join too, and has the text for when it cannot. For
// the plan (sockets.cpp) and the preflight. Knows /proc/net/igmp and igmp6.
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

/// The files in /proc/PID that list the groups that the process may be in.
inline constexpr const char *group_files[] = {"net/igmp", "net/igmp6"};

/// Reads the next group from the text of one of these files; false at its end. `group` must be all zero at first.
bool next_group(const char **text, bool v6, Group *group);

bool is_member(int fd, const Group &group);

/// Is it bound to a group's address? Then it receives nothing else, and a clone's can bind to the same address and join too.
bool receives_a_group_alone(int fd);

/// Makes `to` a member like `from`, with the same filter of senders. Returns 0 or -errno.
long join_as(int from, int to, const Group &group);

/// Text for people: a clone's socket cannot be a member.
Text &tell_lost_group(Text &text, int fd, const Group &group);

}  // namespace gridcentric::live_clone
