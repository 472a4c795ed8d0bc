// The engine's place until core/live_clone has its sources in core/sources.txt: says that this build can't clone. Delete this
// file and its line in core/sources.txt in the commit that lists the engine.
#include <cerrno>

#include "core/live_clone/live_clone.hpp"

namespace gridcentric::live_clone {

namespace {
constexpr const char *absent = "this build has no live clone engine";
}

const char *mode_name(Mode mode) { return mode == Mode::pidns ? "pidns" : "plain"; }
Probe probe() { return {Mode::plain, absent}; }
Preflight preflight(Mode) { return {.can_clone = false, .refusals = {{EOPNOTSUPP, absent}}, .notes = {}}; }
Preflight preflight_of(int, Mode mode) { return preflight(mode); }
Outcome clone(const Order &) {
  Outcome outcome;
  outcome.err = EOPNOTSUPP;
  outcome.message = absent;
  return outcome;
}
void commit() {}
void abort() {}

}  // namespace gridcentric::live_clone
