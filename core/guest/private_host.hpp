// Where this process's host is: named by the environment, or a private one that is started now.
// It must not know: what is said to a host.
#pragma once
#include <string>

namespace gridcentric::guest {

// Path of the host's socket, from $GRIDCENTRIC_HOST; unset: starts a private host and sets the variable, so that children
// of the program find the same one. The caller sees to it that one thread at a time is here.
// Throws Error: HOST_UNREACHABLE (with what the host said before it gave up), NOT_IN_DOMAIN for gc.
std::string find_or_start_host();

}  // namespace gridcentric::guest
