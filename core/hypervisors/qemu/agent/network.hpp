// The VM's network card: its address, and the connections left over from the VM that it was cloned from.
#pragma once
#include <string>

namespace gridcentric::agent {

struct Network {
  std::string ip;       // IPv4, numeric
  int prefix = 0;       // bits of the network
  std::string mac;      // "52:54:00:..."
  std::string gateway;  // "-": none
  std::string names;    // address of a name server; "-": none
};

void loopback_up();

// Gives eth0 these addresses; returns what failed, or ""; also "" if there is no eth0. Resets the connections of the previous
// address, whose peers belong to the other VM (SOCK_DESTROY, sock_diag(7)). Must run before the driver connects the card to the
// network, so that the resets stay inside.
std::string set_network(const Network &network);

}  // namespace gridcentric::agent
