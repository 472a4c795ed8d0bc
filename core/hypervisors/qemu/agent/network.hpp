// The machine's network card: its address, and what is left of the connections of the machine it was cloned from.
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

// Gives eth0 these addresses; returns what could not be done, "" if all was, or if there is no eth0. Connections of the
// address it had before are reset (their peers are the other machine's; SOCK_DESTROY, sock_diag(7)) when its link can't
// carry a word of that outside: before the driver plugs it into the network.
std::string set_network(const Network &network);

}  // namespace gridcentric::agent
