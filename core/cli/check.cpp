// gc check PID: the engine's preflight of another process, or of the tree that it is cloned with.
#include <cstdio>

#include "core/cli/actions.hpp"
#include "core/cli/json.hpp"
#include "core/cli/output.hpp"
#include "core/guest/explain.hpp"

namespace gridcentric::cli {

int check(const Arguments &arguments) {
  const int pid = arguments.number(0, "PID");
  if (pid < 1) throw UsageError{"PID is " + std::to_string(pid) + ", expected the pid of a process"};
  const auto examination = guest::examine(pid);
  const auto &preflight = examination.preflight;
  if (arguments.has("--json")) {
    std::vector<std::string> refusals, notes;
    for (const auto &refusal : preflight.refusals) refusals.push_back(json_text(refusal.what));
    for (const auto &note : preflight.notes) notes.push_back(json_text(note));
    for (const auto &line : examination.repeats) notes.push_back(json_text(line));
    JsonObject object;
    object.number("pid", pid);
    if (examination.root != 0)
      object.number("root", examination.root)
          .number("processes", static_cast<std::int64_t>(preflight.processes.size()));
    std::printf("%s\n", object.truth("can_clone", preflight.can_clone)
                            .text("mode", live_clone::mode_name(examination.mode))
                            .number("threads", static_cast<std::int64_t>(preflight.threads))
                            .number("descriptors", static_cast<std::int64_t>(preflight.descriptors))
                            .raw("refusals", json_list(refusals))
                            .raw("notes", json_list(notes))
                            .str()
                            .c_str());
  } else {
    const std::string who =
        examination.root == 0 || examination.root == pid
            ? format("process %d ", pid)
            : format("process %d is cloned with the tree of process %d, which ", pid, examination.root);
    show(stdout, who + guest::readable(examination).report);
  }
  return preflight.can_clone ? 0 : 1;
}

}  // namespace gridcentric::cli
