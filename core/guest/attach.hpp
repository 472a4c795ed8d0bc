// How a guest introduces itself to a host: what the environment and the process say, as a handshake line.
// It must not know: connections, pools.
#pragma once
#include <string>
#include <vector>

#include "core/guest/client.hpp"

namespace gridcentric::guest {

// The handshake (without "gridcentric/1 ") of a process that is already known to be a domain, or of none (nullptr).
// A process that may be anything attaches; one that is known to be a clone or a child of a domain only asks, so that it
// never becomes the master of its own family when its domain is gone.
// Throws Error INVALID_ARGUMENT: a variable of the environment has a value that means nothing.
std::string attach_handshake(const Identity *known, bool forked_child);

// While it lives, connections of this thread neither found a family nor start a host: they are for a domain that there is already.
class FoundsNothing {
 public:
  FoundsNothing();
  ~FoundsNothing();
  FoundsNothing(const FoundsNothing &) = delete;
  FoundsNothing &operator=(const FoundsNothing &) = delete;
};
bool founds_nothing() noexcept;

// Was this a handshake that makes the process a domain's own one (so that it has to say goodbye)?
bool attaches(const std::string &handshake);

// FAMILY VMID IP PARENT HYPERVISOR. Throws Error PROTOCOL.
Identity parse_greeting(const std::string &greeting);

// The command line that `gc ps` shows instead of this process's own: `gc run` is about to become it. Before the first call.
void introduce_as(std::vector<std::string> command);

// Set by ask_only(): this program is the gc command.
bool only_asks() noexcept;

}  // namespace gridcentric::guest
