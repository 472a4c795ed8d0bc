// The files pre-clone and post-clone that run around a clone (docs/semantics.md).
// They run under `gc hook`, which hands their exit status over a socket: a program that reaps all children takes nothing away.
// It must not know: when a hook is due, what a failure means.
#pragma once
#include <string>

namespace gridcentric::guest {

struct HookContext {
  int vmid;            // GC_VMID: of the domain that the hook runs in
  std::string ip;      // GC_IP: its address
  std::string ticket;  // GC_TICKET: of this cloning
  bool in_clone;       // GC_ROLE: clone in a new clone, master in the domain that cloned
};

struct HookOutcome {
  int status =
      0;  // 0: it went well, or there is no such file; else the exit code of the domain that fails by it
  std::string text;  // what was run and how it failed
};

// name: "pre-clone" or "post-clone", in $GRIDCENTRIC_HOOKS or /etc/gridcentric. Waits until it has ended. Thread-safe.
HookOutcome run_hook(const std::string &name, const HookContext &context);

}  // namespace gridcentric::guest
