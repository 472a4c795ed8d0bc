// gc check PID: the engine's preflight of another process.
#include <cstdio>

#include "core/cli/actions.hpp"
#include "core/cli/json.hpp"
#include "core/cli/output.hpp"
#include "core/generators/findings.hpp"
#include "core/guest/explain.hpp"

namespace gridcentric::cli {

int check(const Arguments &arguments) {
  const int pid = arguments.number(0, "PID");
  if (pid < 1) throw UsageError{"PID is " + std::to_string(pid) + ", expected the pid of a process"};
  const auto mode = guest::mode_here();
  const auto preflight = live_clone::preflight_of(pid, mode);
  const auto repeats = generators::what_repeats(pid);
  if (arguments.has("--json")) {
    std::vector<std::string> refusals, notes;
    for (const auto &refusal : preflight.refusals) refusals.push_back(json_text(refusal.what));
    for (const auto &note : preflight.notes) notes.push_back(json_text(note));
    for (const auto &line : repeats) notes.push_back(json_text(line));
    std::printf("%s\n", JsonObject()
                            .number("pid", pid)
                            .truth("can_clone", preflight.can_clone)
                            .text("mode", live_clone::mode_name(mode))
                            .number("threads", static_cast<std::int64_t>(preflight.threads))
                            .number("descriptors", static_cast<std::int64_t>(preflight.descriptors))
                            .raw("refusals", json_list(refusals))
                            .raw("notes", json_list(notes))
                            .str()
                            .c_str());
  } else {
    show(stdout, format("process %d ", pid) + guest::readable(preflight, mode, repeats).report);
  }
  return preflight.can_clone ? 0 : 1;
}

}  // namespace gridcentric::cli
