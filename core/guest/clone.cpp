// clone(): what the host orders, the engine does. The order of things and who undoes what is here and nowhere else:
//
//   caller: before_clone handlers -> ask host -> "fork" -> pre-clone hook -> around_copy's before() -> engine holds N clones -> around_copy's after()
//           -> "pidfds", "forked" -> "ok" -> open the gate -> post-clone hook -> clone() returns 0
//   clone:  gate opens -> new identity -> generators of libraries -> on_clone handlers -> around_copy's after() -> post-clone hook -> the vmid
//
// In a VM the hypervisor makes the clones itself:
//
//   caller: before_clone handlers -> pre-clone hook -> ask host -> "ok 0" -> post-clone hook -> clone() returns 0
//   clone:  all programs of the machine go on -> on_clone handlers, in each process (clone_handlers.hpp) -> "ok VMID"
//           -> post-clone hook -> the vmid
// What is said to the host is in clone_call.hpp, what refuses a cloning in clone_policy.hpp, the hooks in clone_hooks.hpp.
#include <arpa/inet.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>

#include "core/generators/reseed.hpp"
#include "core/guest/around_copy.hpp"
#include "core/guest/clone_call.hpp"
#include "core/guest/clone_handlers.hpp"
#include "core/guest/clone_hooks.hpp"
#include "core/guest/clone_policy.hpp"
#include "core/guest/connection_pool.hpp"
#include "core/guest/machine_page.hpp"
#include "core/guest/orders.hpp"
#include "core/guest/preparing.hpp"
#include "core/guest/spawn.hpp"
#include "core/guest/ticket.hpp"
#include "core/guest/trace.hpp"

namespace gridcentric::guest {
namespace {

// One cloning of this process at a time, from the host's order until the gate is open.
std::mutex one_at_a_time;

std::vector<std::uintptr_t> &pointers_of_threads =
    *new std::vector<std::uintptr_t>;  // never destroyed: see client.hpp

std::atomic<std::size_t> lock_free_chunks;

live_clone::Answer answer_of(int vmid) {
  live_clone::Answer answer{};
  answer.size = static_cast<std::size_t>(std::snprintf(answer.bytes, sizeof answer.bytes, "%d\n", vmid));
  return answer;
}

live_clone::Order for_engine(const CloneOrder &order, const ForChild &child) {
  live_clone::Order engine;
  engine.mode = order.mode == live_clone::mode_name(live_clone::Mode::pidns) ? live_clone::Mode::pidns
                                                                             : live_clone::Mode::plain;
  for (const auto &clone : order.clones) {
    in_addr address{};
    ::inet_pton(AF_INET, clone.address.c_str(), &address);  // the wire has checked it
    engine.addresses.push_back(ntohl(address.s_addr));
    if (child.inode != 0) engine.answer_pipe.answers.push_back(answer_of(clone.vmid));
  }
  engine.answer_pipe.device = child.device;
  engine.answer_pipe.inode = child.inode;
  engine.standard_streams = child.standard_streams;
  engine.reaper_path = find_reaper();
  engine.no_locks_in_chunks = lock_free_chunks;
  engine.with_children = children_are_cloned();
  if (engine.with_children) use_family_of_preloaded();
  if (child.pid > 0) engine.left_out.push_back(child.pid);
  return engine;
}

// Copies this process; in the clone it returns as that domain.
live_clone::Outcome copy_process(const CloneOrder &order, live_clone::Order &engine, const Identity &self,
                                 Connection &lifeline) {
  std::optional<NotPreparing> not_preparing(std::in_place);
  AroundCopy held_still;
  engine.let_go_during = [&](const std::function<void()> &wait) { held_still.let_go_during(wait); };
  engine.released = [&] { held_still.end(); };
  CloningAhead ahead;
  auto outcome = live_clone::clone(engine);
  not_preparing.reset();
  if (outcome.index > 0) {
    const auto &clone = order.clones[static_cast<std::size_t>(outcome.index) - 1];
    lifeline.forget();  // the engine closed it here
    become({self.family, clone.vmid, clone.address, self.vmid, self.hypervisor});
    pointers_of_threads = outcome.thread_pointers;
    generators::reseed_libraries();
    run_clone_handlers(clone.vmid);
  }
  return outcome;
}

int clone_this_process(CloneCall &call, const std::string &ticket, const CloneOrder &order,
                       const ForChild &child) {
  std::unique_lock turn(one_at_a_time);
  if (call.became_clone()) throw call.broken();  // while waiting for the turn
  if (const auto refusal = why_not_this_process()) call.fail(refusal->error, refusal->reason);
  const Identity &self = known_identity(nullptr);
  const HookContext context{self.vmid, self.ip, ticket, false};
  live_clone::Order engine = for_engine(order, child);
  if (const auto hook = run_hook("pre-clone", context); hook.status != 0) call.fail(EIO, hook.text);

  const auto lifeline = open_connection("lifeline " + self.family, nullptr);
  engine.lifeline = lifeline->fd();
  call.make_final();
  live_clone::Outcome outcome;
  try {
    outcome = copy_process(order, engine, self, *lifeline);
  } catch (...) {
    if (!call.became_clone())  // else a handler of on_clone() did not like it here
      call.report_failure(ECANCELED, "a handler that runs before the copy refused it");
    throw;
  }
  if (outcome.index > 0) {
    turn.unlock();
    const HookContext mine = context_here(ticket, true);
    finish_clone(mine);
    return mine.vmid;
  }
  if (outcome.index < 0) call.fail(outcome.err, outcome.message);
  try {
    call.hand_over(outcome);
  } catch (...) {
    live_clone::abort();
    throw;
  }
  live_clone::commit();
  for (const int fd : outcome.pidfds) ::close(fd);
  turn.unlock();
  trace_cloning(engine, outcome);
  finish_caller(context);
  return 0;
}

// The hypervisor has cloned the whole machine, or only its books say so: 0 in the caller, the vmid in each clone.
int machine_was_cloned(const std::string &ticket, int vmid) {
  if (vmid <= 0 && !in_machine()) return 0;
  if (vmid > 0) in_machine() ? finish_clone_handlers() : run_clone_handlers(vmid);
  const HookContext context = context_here(ticket, vmid > 0);
  vmid > 0 ? finish_clone(context) : finish_caller(context);
  return vmid;
}

// The machine stands still as soon as the host has been asked: this is the last moment for the pre-clone hook.
void prepare_machine(const std::string &ticket) {
  if (const auto hook = run_hook("pre-clone", context_here(ticket, false)); hook.status != 0)
    throw Error(GC_E_CLONE_FAILED, hook.text);
}

int clone_and_answer(const std::string &ticket, Call *call,
                     const std::vector<generators::Repeating> &found_by_binding, const ForChild &child) {
  checked_ticket(ticket);
  refuse_what_repeats(found_by_binding);
  run_before_handlers();  // the host knows nothing yet: one that says no has changed nothing
  generators::find_libraries();
  if (in_machine()) prepare_machine(ticket);
  CloneCall asking(ticket, call);
  const auto reply = asking.reply();
  if (const auto *made = std::get_if<Cloned>(&reply)) return machine_was_cloned(ticket, made->vmid);
  return clone_this_process(asking, ticket, std::get<CloneOrder>(reply), child);
}

}  // namespace

bool children_are_cloned() noexcept { return std::getenv(whole_tree_variable) != nullptr; }

void no_locks_in_chunks(std::size_t size) noexcept { lock_free_chunks = size; }

int clone(const std::string &ticket, Call *call, const std::vector<generators::Repeating> &found_by_binding) {
  return clone_and_answer(ticket, call, found_by_binding, {});
}

int clone_for_child(const std::string &ticket, const ForChild &child) {
  return clone_and_answer(ticket, nullptr, {}, child);
}

const std::vector<std::uintptr_t> &thread_pointers() noexcept { return pointers_of_threads; }

void before_clone(std::function<void()> handler) {
  if (!handler)
    throw Error(GC_E_INVALID_ARGUMENT, "the handler of before_clone is empty, expected a function");
  add_before_handler(std::move(handler));
  carried_out_for_preloaded();  // an order has to come by this handler
}

void on_clone(std::function<void(int)> handler) {
  if (!handler) throw Error(GC_E_INVALID_ARGUMENT, "the handler of on_clone is empty, expected a function");
  add_clone_handler(std::move(handler));
  carried_out_for_preloaded();
}

}  // namespace gridcentric::guest
