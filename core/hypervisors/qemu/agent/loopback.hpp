// Servers that listen on 127.0.0.1 are reached at the machine's address. Knows nothing of programs but their control group.
//
// On the process hypervisor a clone's listening sockets are at the clone's own address, whatever they were bound to; so a server
// behind autoscale or --publish that binds to 127.0.0.1, as it should on a shared machine, works there, and has to here. A VM's
// loopback protects it from nobody: its network is its host's alone.
//
// A BPF program at the programs' control group makes 127.0.0.1 of a TCP bind(2) any address. So the socket follows the
// machine when it becomes another, and nothing stands between it and its peers: no relay to lose connections or their
// peers' addresses, no NAT whose state is cloned. The price: getsockname(2) says 0.0.0.0, and a second program can't
// bind the same port of the machine's own address.
#pragma once
#include <string>

namespace gridcentric::agent {

// For all programs of this control group, from now on. Returns what could not be done, "" if all was.
std::string open_loopback(const char *group);

}  // namespace gridcentric::agent
