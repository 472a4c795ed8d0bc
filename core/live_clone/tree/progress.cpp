// In the root: waits for the processes below it, and then for all copies, its own ones included. Nobody waits for one that has
// ended: of a process in the master /proc knows it, of a copy its gc-reaper, of a gc-reaper its pidfd.
#include "process_facts.hpp"
#include "refused_processes.hpp"
#include "tree.hpp"

namespace gridcentric::live_clone::tree {
namespace {

bool fail_as(const Process &process) {
  engine.result.passes = process.passes;
  Text text = fail(process.failure.err ? process.failure.err : ECHILD);
  tell_process(text, process.pid, process.name)
      << (process.failure.err ? process.failure.what : "it ended while it was cloned");
  return false;
}

// One with a frozen copy needs only that.
bool has_died(const Process &process) {
  const int copy = process.frozen_proc_pid;
  Facts facts;
  return !look_at(copy ? copy : process.proc_pid, &facts) || facts.state == 'Z' || facts.state == 'X';
}

CloneStatus &status_of(int process, int clone) {
  return (process ? page().status(process) : engine.prepared.status)->clones[clone];
}

bool fail_copy(int process, int clone, int err, const char *what) {
  const Process &p = page().processes[process];
  Text text = fail(err ? err : ECHILD);
  text << "clone " << (clone + 1) << " of " << engine.clones() << ": ";
  if (process) tell_process(text, p.pid, p.name);
  text << what;
  return false;
}

constexpr const char *died = "it died while it was rebuilt";

// Those that others of its clone wait for in vain fail, too: the one that has said nothing is the cause.
int killed_copy(int clone) {
  const int pid = page().clone(clone).died;
  for (int i = 0; pid && i < page().count; i++)
    if (page().processes[i].pid == pid && status_of(i, clone).state != state_failed) return i;
  return -1;
}

bool clone_lives(int clone) {
  const int pidfd = engine.result.pidfds[clone];
  const bool ended = pidfd >= 0 && has_ended(pidfd);
  for (int i = 0; i < page().count; i++) {
    const CloneStatus &s = status_of(i, clone);
    if (s.state != state_failed) continue;
    const int killed = killed_copy(clone);
    return killed >= 0 ? fail_copy(killed, clone, ECHILD, died)
                       : fail_copy(i, clone, s.failure.err, s.failure.what);
  }
  const int killed = killed_copy(clone);
  return killed < 0 && !ended ? true : fail_copy(killed < 0 ? 0 : killed, clone, ECHILD, died);
}

bool clones_live() {
  for (int k = 0; engine.result.pidfds && k < engine.clones(); k++)
    if (!clone_lives(k)) return false;
  return true;
}

}  // namespace

bool others_live(ProcessState state, bool *missing) {
  *missing = false;
  if (!clones_live()) return false;
  for (int i = 1; i < page().count; i++) {
    const Process &process = page().processes[i];
    if (process.state == failed) return fail_as(process);
    if (process.state >= state) continue;
    // A frozen copy ends when it has done all: then it has said so by now.
    if (has_died(process) && process.state < state) return fail_as(process);
    *missing = true;
  }
  return true;
}

bool wait_for_others(ProcessState state, double deadline) {
  for (;;) {
    const int progress = page().progress;
    bool missing;
    if (!others_live(state, &missing)) return false;
    if (!missing) return true;
    for (int i = 1; now_ms() > deadline && i < page().count; i++)
      if (const Process &process = page().processes[i]; process.state < state)
        return fail(ETIMEDOUT) << "process " << process.pid << " (" << process.name
                               << ") was not ready within " << engine.order->park_timeout_ms
                               << " ms, while the program was stopped",
               false;
    futex_wait(page().progress, progress, look_soon_ms);
  }
}

void begin(Phase phase) {
  page().phase = phase;
  futex_wake(page().phase);
}

bool wait_for_copies(CloneState wanted, int timeout_ms) {
  const double deadline = now_ms() + timeout_ms;
  for (;;) {
    const int progress = page().progress;
    bool missing = false;
    for (int i = 0; i < page().count; i++)
      for (int k = 0; k < engine.clones(); k++) missing = missing || status_of(i, k).state < wanted;
    // Also when none is missing: nobody reports one that has ended before its parent is whole.
    if (!clones_live()) return false;
    if (!missing) return true;
    if (timeout_ms >= 0 && now_ms() > deadline)
      return fail(ETIMEDOUT) << "the copies of the program's processes were not ready within " << timeout_ms
                             << " ms",
             false;
    futex_wait(page().progress, progress, look_soon_ms);
  }
}

}  // namespace gridcentric::live_clone::tree
