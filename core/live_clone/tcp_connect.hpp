// In a clone: makes a TCP connection like one of the master's, of which both ends are the clone's. On addresses as near to the old
// ones as can be, with the same options and the bytes under way. Knows nothing of processes.
#pragma once

#include "descriptor.hpp"
#include "tcp_ends.hpp"

namespace gridcentric::live_clone {

/// The clone's address, as ::ffff:a.b.c.d.
Endpoint at_clone(uint16_t port);
/// The names that an end had when it was planned, or some on the clone's address.
Connection names_of(const Descriptor &d);

// Each returns a descriptor, or -errno.
/// Where the end `old` was accepted: as a listener, on the clone's address with the same port. An address of another kind is the
/// same for master and clone, which can't share a port there.
long listen_like(int family, const Endpoint &old);
/// `old`: the client's end.
long connect_to(int listener, int family, const Endpoint &old, double deadline);
/// Somebody else may connect meanwhile: that is turned away.
long accept_from(int listener, int client, double deadline);

/// How long a clone waits for its connection to itself.
inline constexpr int connecting_ms = 3000;

/// Gives the connection the options of the master's, and puts it under the number of `d`.
bool take_place(long fd, const Descriptor &d);
/// What waited to be read from `reader` is written at the other end. What has no room on the one side waits on the other, as it
/// would have.
bool refill(const Descriptor &reader, int writer);
/// Shuts the halves that were shut: when both sides have what was under way.
void shut_like(const Descriptor &d);

}  // namespace gridcentric::live_clone
