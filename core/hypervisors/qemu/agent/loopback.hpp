// Makes servers that listen on 127.0.0.1 reachable at the VM's address. Knows only the programs' control group.
//
// On the process hypervisor a clone's listening sockets are at the clone's own address, whatever they were bound to. So a
// server behind autoscale or --publish that binds to 127.0.0.1, as it should on a shared computer, works there, and must work
// here too. This exposes it to nobody else: only its host can reach a VM's network.
//
// A BPF program in the programs' control group replaces 127.0.0.1 in a TCP bind(2) by the wildcard address. So the socket
// follows the VM when its address changes, and talks to its peers directly: there is no relay that loses connections or the
// peers' addresses, and no NAT whose state is cloned. The price: getsockname(2) returns 0.0.0.0, and no second program can
// bind the same port of the VM's own address.
#pragma once
#include <string>

namespace gridcentric::agent {

// Applies to all programs of this control group, from now on. Returns what failed, or "".
std::string open_loopback(const char *group);

}  // namespace gridcentric::agent
