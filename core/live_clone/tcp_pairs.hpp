// In the master, whose threads are parked: brings what is under way in a TCP connection, of which both ends are cloned, to where it
// can be looked at, and copies it. Knows nothing of processes.
#pragma once

#include "descriptor.hpp"
#include "tcp_ends.hpp"

namespace gridcentric::live_clone {

/// What may still be spent on all connections of one clone().
struct Settling {
  int looks = 100;  ///< at what is not there yet; 50 us lie between two
  uint64_t in_all = 0;
};

/// Waits until all that is under way waits at its reader. Null: it does. Otherwise why the connection will be a dead end.
const char *settle(int a, int b, Settling *settling, uint64_t *to_a, uint64_t *to_b);
/// What waits to be read, without taking it.
bool copy_waiting(Descriptor &d, uint64_t waiting);

}  // namespace gridcentric::live_clone
