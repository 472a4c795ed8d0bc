#include "core/guest/clone_hooks.hpp"

#include <unistd.h>

#include <cstdio>

#include "core/guest/connection_pool.hpp"
#include "core/guest/machine_page.hpp"

namespace gridcentric::guest {

HookContext context_here(const std::string &ticket, bool in_clone) {
  const Identity &mine = known_identity(nullptr);
  return {mine.vmid, mine.ip, ticket, in_clone};
}

void finish_clone(const HookContext &context) {
  if (const auto outcome = run_hook("post-clone", context); outcome.status != 0) {
    std::fprintf(stderr, "gridcentric: clone %d ends: %s\n", context.vmid, outcome.text.c_str());
    std::fflush(stderr);
    if (in_machine()) kill(context.vmid);  // the domain is more than this process
    ::_exit(outcome.status);
  }
}

void finish_caller(const HookContext &context) {
  if (const auto hook = run_hook("post-clone", context); hook.status != 0) {
    std::fprintf(stderr, "gridcentric: in the domain that cloned: %s\n", hook.text.c_str());
  }
}

}  // namespace gridcentric::guest
