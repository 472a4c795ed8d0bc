// explain(): the engine's preflight as a text for people, and which generators of random numbers repeat. `gc check PID` prints
// the same of another process. In a tree that is cloned as a whole, both speak of all its processes.
#include "core/guest/explain.hpp"

#include <cstdlib>
#include <string_view>

#include "core/generators/findings.hpp"
#include "core/guest/tree_root.hpp"

namespace gridcentric::guest {

live_clone::Mode mode_here() {
  const char *forced = std::getenv("GRIDCENTRIC_CLONE_MODE");
  for (const auto mode : {live_clone::Mode::pidns, live_clone::Mode::plain}) {
    if (forced != nullptr && std::string_view(forced) == live_clone::mode_name(mode)) return mode;
  }
  return live_clone::probe().mode;
}

namespace {

std::vector<std::string> what_repeats(const std::vector<live_clone::Preflight::Process> &processes,
                                      const std::vector<generators::Repeating> &found_by_binding) {
  std::vector<std::string> lines;
  for (const auto &process : processes) {
    const bool self = process.proc_pid == own_number();
    const auto found =
        self ? generators::what_repeats(0, found_by_binding) : generators::what_repeats(process.proc_pid);
    for (const auto &line : found) lines.push_back(process.heading + line);
  }
  return lines;
}

// Of which this process is a part, and which is cloned as a whole; 0: it is cloned alone.
int own_tree() { return children_are_cloned() ? root_of_tree(own_number()) : 0; }

}  // namespace

std::vector<std::string> what_repeats_here(const std::vector<generators::Repeating> &found_by_binding) {
  const int root = own_tree();
  if (root == 0) return generators::what_repeats(0, found_by_binding);
  return what_repeats(live_clone::processes_of_tree(root), found_by_binding);
}

Examination examine(int pid) {
  const auto mode = mode_here();
  const int root = root_of_tree(pid);
  if (root == 0) return {0, mode, live_clone::preflight_of(pid, mode), generators::what_repeats(pid)};
  auto preflight = live_clone::preflight_of_tree(root, mode, own_number());
  auto repeats = what_repeats(preflight.processes, {});
  return {root, mode, std::move(preflight), std::move(repeats)};
}

Explanation readable(const Examination &examination) {
  const auto &preflight = examination.preflight;
  const std::string processes =
      examination.root != 0 ? std::to_string(preflight.processes.size()) + " processes, " : "";
  Explanation result{preflight.can_clone, ""};
  result.report.append(preflight.can_clone ? "can be cloned" : "can not be cloned")
      .append(" (mode ")
      .append(live_clone::mode_name(examination.mode))
      .append(", " + processes + std::to_string(preflight.threads) + " threads, " +
              std::to_string(preflight.descriptors) + " descriptors)\n");
  for (const auto &refusal : preflight.refusals) result.report.append("refused: " + refusal.what + "\n");
  for (const auto &note : preflight.notes) result.report.append("note: " + note + "\n");
  for (const auto &line : examination.repeats) result.report.append("note: " + line + "\n");
  return result;
}

Explanation explain(const std::vector<generators::Repeating> &found_by_binding) {
  const auto mode = mode_here();
  const int root = own_tree();
  if (root == 0)
    return readable({0, mode, live_clone::preflight(mode), generators::what_repeats(0, found_by_binding)});
  auto preflight = live_clone::preflight_of_tree(root, mode);
  auto repeats = what_repeats(preflight.processes, found_by_binding);
  return readable({root, mode, std::move(preflight), std::move(repeats)});
}

}  // namespace gridcentric::guest
