// Orders of the host: a thread of this process waits for them over a separate connection, and carries them out one after the
// other (docs/protocol.md, "Orders"). What programs call is in client.hpp: serve(), carry_out_orders_with(), clone_of().
// It must not know: who gave an order, languages, how a process is cloned.
#pragma once
#include <string>

#include "core/guest/client.hpp"

namespace gridcentric::guest {

// GRIDCENTRIC_SERVE=1: starts the thread, without waiting for the host. For a process that has just attached.
void serve_if_told();

// A library that `gc run` has preloaded takes this process's orders. Does it exist, and has it been told that this copy of
// the guest library carries them out? For whatever makes a clone more than a copy: handlers, a language's own way.
bool carried_out_for_preloaded();

// This copy is in the preloaded library: it takes orders itself.
void is_preloaded();

// What that library exports under this name. carry_out: 0, or GC_E_*, with a text for it. Returns whether it takes orders here.
using CarryOutFor = int (*)(const char *ticket, int asker, char *text, std::size_t size);
using UseCarryOut = bool (*)(CarryOutFor carry_out);
inline constexpr const char *use_carry_out_name = "gridcentric_run_carry_out_with";

// With that library, its wait family translates pids in clones of a tree: the engine of this copy writes down there what it has to.
void use_family_of_preloaded();
inline constexpr const char *give_family_name = "gridcentric_run_family";

// Of a child in a tree that is cloned: what makes its copy's random numbers its own, beside those of C libraries. It is called on
// the main thread, while that waits for something.
void repair_children_with(void (*repair)());
inline constexpr const char *repair_with_name = "gridcentric_run_repair_with";

}  // namespace gridcentric::guest
