#include "core/guest/clone_policy.hpp"

#include <cerrno>
#include <gridcentric/drivers.hpp>

#include "core/generators/reseed.hpp"
#include "core/guest/attach.hpp"
#include "core/guest/client.hpp"
#include "core/guest/connection_pool.hpp"
#include "core/guest/explain.hpp"
#include "core/guest/spawn.hpp"

namespace gridcentric::guest {

void refuse_what_repeats(const std::vector<generators::Repeating> &found_by_binding) {
  if (!generators::strict()) return;
  const auto lines = what_repeats_here(found_by_binding);
  if (lines.empty()) return;
  std::string text = "GRIDCENTRIC_STRICT is set, and " + lines[0];
  if (lines.size() > 1) text += "; and " + std::to_string(lines.size() - 1) + " more, see explain()";
  throw Error(GC_E_NOT_SUPPORTED, text);
}

std::optional<CloneRefusal> why_not_this_process() {
  if (only_asks())
    return CloneRefusal{
        EOPNOTSUPP,
        "gc clone would clone the gc command alone, as this hypervisor clones one process: call clone() in "
        "the program itself (C, C++, Python, Node, Java)" +
            who_can(&Capabilities::whole_machine)};
  if (is_forked_child())
    return CloneRefusal{
        EOPNOTSUPP,
        "this process is a child of the domain's own process, and this hypervisor clones that one only: "
        "call clone() there" +
            who_can(&Capabilities::whole_machine)};
  if (find_reaper().empty())
    return CloneRefusal{
        ENOENT,
        "gc-reaper is neither beside the gc command that GRIDCENTRIC_GC names, nor beside the library or on "
        "PATH: "
        "set GRIDCENTRIC_GC to the path of a gc that has one beside it"};
  return std::nullopt;
}

}  // namespace gridcentric::guest
