// explain(): the engine's preflight as a text for people, and which generators of random numbers repeat. `gc check PID` prints the same of another process.
#include "core/guest/explain.hpp"

#include <cstdlib>
#include <string_view>

#include "core/generators/findings.hpp"

namespace gridcentric::guest {

live_clone::Mode mode_here() {
  const char *forced = std::getenv("GRIDCENTRIC_CLONE_MODE");
  for (const auto mode : {live_clone::Mode::pidns, live_clone::Mode::plain}) {
    if (forced != nullptr && std::string_view(forced) == live_clone::mode_name(mode)) return mode;
  }
  return live_clone::probe().mode;
}

Explanation readable(const live_clone::Preflight &preflight, live_clone::Mode mode,
                     const std::vector<std::string> &repeats) {
  Explanation result{preflight.can_clone, ""};
  result.report.append(preflight.can_clone ? "can be cloned" : "can not be cloned")
      .append(" (mode ")
      .append(live_clone::mode_name(mode))
      .append(", " + std::to_string(preflight.threads) + " threads, " +
              std::to_string(preflight.descriptors) + " descriptors)\n");
  for (const auto &refusal : preflight.refusals) result.report.append("refused: " + refusal.what + "\n");
  for (const auto &note : preflight.notes) result.report.append("note: " + note + "\n");
  for (const auto &line : repeats) result.report.append("note: " + line + "\n");
  return result;
}

Explanation explain(const std::vector<generators::Repeating> &found_by_binding) {
  const auto mode = mode_here();
  return readable(live_clone::preflight(mode), mode, generators::what_repeats(0, found_by_binding));
}

}  // namespace gridcentric::guest
