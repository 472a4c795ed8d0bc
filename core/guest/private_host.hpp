// Where this process's host is: named by the environment, that of the VM it is in, or a private one that is started now.
// It must not know: what is said to a host.
#pragma once
#include <string>

namespace gridcentric::guest {

// Path of the host's socket, from $GRIDCENTRIC_HOST; unset: that of the VM; outside of VMs start_host(). The caller sees to it
// that one thread at a time is here.
// Throws Error: HOST_UNREACHABLE (with what the host said before it gave up), NOT_IN_DOMAIN for gc.
std::string find_or_start_host();

// Does the environment name a host?
bool names_host() noexcept;

// Starts a private host, for this process and its children alone: sets $GRIDCENTRIC_HOST, which other threads may be
// reading. Returns the path of its socket; throws as above.
std::string start_host();

}  // namespace gridcentric::guest
