// TCP connections of a program to itself: which two sockets are the ends of one, what is under way in it, and what keeps a clone
// from having one like it. For plan (tcp_pairs.cpp) and preflight. Only looks: changes nothing in a socket.
#pragma once

#include "socket_name.hpp"
#include "sys.hpp"

namespace gridcentric::live_clone {

/// One end's name. IPv4 is written as IPv6 has it: ::ffff:a.b.c.d.
struct Endpoint {
  uint8_t address[16];
  uint32_t scope;  ///< the interface, of an address that means something there alone
  uint16_t port;   ///< host byte order
};

/// A connection, as seen from one of its ends.
struct Connection {
  Endpoint local, peer;
};

Endpoint endpoint_of(const SocketName &name);
bool same_endpoint(const Endpoint &a, const Endpoint &b);
/// Of the connection whose one end is `a`, is `b` the other?
bool are_ends_of_one(const Connection &a, const Connection &b);
/// The same number for both ends of a connection.
uint64_t number_for(const Connection &c);

/// What an accepted or connected socket is bound to, and what it is connected to. False when it has no name.
bool local_endpoint(int fd, Endpoint *local);
bool connection_of(int fd, Connection *c);
bool in_one_network(int fd_a, int fd_b);
/// 127.0.0.0/8, in both families.
bool is_v4_loopback(const Endpoint &e);
bool is_v6_loopback(const Endpoint &e);
/// Can what is sent to a loopback address arrive there?
bool is_on_loopback(const Endpoint &e);

/// From one end to the other.
struct UnderWay {
  uint64_t waiting;  ///< bytes, to be read
  uint64_t unsent;   ///< bytes, in the sender's queue
  bool arriving;     ///< some have been sent and have not come, or the end has not
  uint64_t bytes() const { return waiting + unsent; }
  bool all_there() const { return !unsent && !arriving; }
};
UnderWay under_way(int from, int to);

/// Which halves its owner has shut, by shutdown().
inline constexpr int shut_reading = 1, shut_writing = 2;
int shut_halves(int fd);

/// More in one direction, or in all of a program's connections to itself, is not copied.
inline constexpr uint64_t most_under_way = uint64_t(8) << 20, most_under_way_in_all = uint64_t(64) << 20;

/// Why a clone gets no connection like this one; null: it gets one. `passes`: it may be over in a moment.
const char *why_dead(int fd_a, int fd_b, bool *passes);
extern const char *const too_much_under_way, *const never_arrives, *const urgent_in_flight;

/// Has it connections that nobody has accepted yet?
bool has_unaccepted(int listener);
/// May the other end of `c` wait there?
bool may_be_waiting_at(const Connection &c, const Endpoint &listener);

/// For people.
Text &tell_dead_pair(Text &text, int fd, int other, const char *why);
Text &tell_connected_to_itself(Text &text, int fd);
Text &tell_unaccepted(Text &text, int fd, int listener);

}  // namespace gridcentric::live_clone
