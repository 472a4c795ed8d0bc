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
#include <arpa/inet.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>

#include "core/generators/reseed.hpp"
#include "core/guest/around_copy.hpp"
#include "core/guest/attach.hpp"
#include "core/guest/clone_handlers.hpp"
#include "core/guest/exchange.hpp"
#include "core/guest/hooks.hpp"
#include "core/guest/machine_page.hpp"
#include "core/guest/reply.hpp"
#include "core/guest/spawn.hpp"
#include "core/guest/ticket.hpp"
#include "core/guest/trace.hpp"
#include "core/live_clone/live_clone.hpp"
#include "core/wire/text.hpp"

namespace gridcentric::guest {
namespace {

constexpr std::size_t descriptors_per_message = 250, most_ports = 1'000;  // docs/protocol.md, "Cloning"

// One cloning of this process at a time, from the host's order until the gate is open.
std::mutex one_at_a_time;

std::vector<std::uintptr_t> &pointers_of_threads =
    *new std::vector<std::uintptr_t>;  // never destroyed: see client.hpp

struct ForkOrder {
  live_clone::Order engine;
  std::vector<int> vmids;
  std::vector<std::string> addresses;
};

// MODE VMID@IP VMID@IP ...
ForkOrder parse_order(const std::string &line) {
  Fields fields(line);
  ForkOrder order;
  const std::string mode = fields.text();
  if (mode == live_clone::mode_name(live_clone::Mode::pidns)) {
    order.engine.mode = live_clone::Mode::pidns;
  } else if (mode == live_clone::mode_name(live_clone::Mode::plain)) {
    order.engine.mode = live_clone::Mode::plain;
  } else {
    fields.malformed();
  }
  do {
    const std::string clone = fields.text();
    const auto at = clone.find('@');
    if (at == std::string::npos) fields.malformed();
    const std::string vmid = clone.substr(0, at), ip = clone.substr(at + 1);
    in_addr address{};
    if (::inet_pton(AF_INET, ip.c_str(), &address) != 1) fields.malformed();
    order.vmids.push_back(Fields(vmid).number());
    order.addresses.push_back(ip);
    order.engine.addresses.push_back(ntohl(address.s_addr));
  } while (fields.more());
  return order;
}

// Tells the host that there will be no clones. Throws the error that the host makes of it.
[[noreturn]] void fail(Exchange &exchange, int error, const std::string &reason) {
  exchange.answer("failed " + std::to_string(error) + " " + wire::one_line(reason));
  const auto line = exchange.next();
  Fields(line.word + " " + line.rest).malformed();
}

std::string require_reaper(Exchange &exchange) {
  std::string reaper = find_reaper();
  if (reaper.empty()) {
    fail(exchange, ENOENT,
         "gc-reaper is neither beside the gc command that GRIDCENTRIC_GC names, nor beside the library or on "
         "PATH: "
         "set GRIDCENTRIC_GC to the path of a gc that has one beside it");
  }
  return reaper;
}

void hand_over(Exchange &exchange, const live_clone::Outcome &outcome) {
  const std::span<const int> all(outcome.pidfds);
  for (std::size_t at = 0; at < all.size(); at += descriptors_per_message) {
    const auto part = all.subspan(at, std::min(descriptors_per_message, all.size() - at));
    exchange.answer("pidfds " + std::to_string(part.size()), part);
  }
  for (std::size_t i = 0; i < outcome.ports.size() && i < most_ports; ++i) {
    const auto &bound = outcome.ports[i];
    exchange.answer(std::string("bound ") + (bound.tcp ? "tcp" : "udp") + (bound.v6 ? "6 " : "4 ") +
                    std::to_string(bound.port));
  }
  exchange.answer("forked " + std::to_string(all.size()));
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

// Copies this process; in the clone it returns as that domain.
live_clone::Outcome copy_process(ForkOrder &order, const Identity &self, Connection &lifeline) {
  AroundCopy held_still;
  order.engine.let_go_during = [&](const std::function<void()> &wait) { held_still.let_go_during(wait); };
  CloningAhead ahead;
  auto outcome = live_clone::clone(order.engine);
  if (outcome.index > 0) {
    const auto at = static_cast<std::size_t>(outcome.index) - 1;
    lifeline.forget();  // the engine closed it here
    become({self.family, order.vmids[at], order.addresses[at], self.vmid, self.hypervisor});
    pointers_of_threads = outcome.thread_pointers;
    generators::reseed_libraries();
    run_clone_handlers(order.vmids[at]);
  }
  return outcome;
}

int clone_this_process(Exchange &exchange, const std::string &ticket, const std::string &order_line) {
  std::unique_lock turn(one_at_a_time);
  if (exchange.lease().became_clone()) throw exchange.lease().broken();  // while waiting for the turn
  if (only_asks()) {
    fail(exchange, EOPNOTSUPP,
         "gc clone would clone the gc command alone, as the process hypervisor clones one process: call "
         "clone() in the "
         "program itself (C, C++, Python, Node), or use the qemu hypervisor, which clones the shell with its "
         "whole machine");
  }
  if (is_forked_child()) {
    fail(exchange, EOPNOTSUPP,
         "this process is a child of the domain's own process, and the process hypervisor clones that one "
         "only: call "
         "clone() there, or use the qemu hypervisor, which clones every process of a machine");
  }
  const Identity &self = known_identity(nullptr);
  const HookContext context{self.vmid, self.ip, ticket, false};
  ForkOrder order = parse_order(order_line);
  order.engine.reaper_path = require_reaper(exchange);
  if (const auto outcome = run_hook("pre-clone", context); outcome.status != 0)
    fail(exchange, EIO, outcome.text);

  const auto lifeline = open_connection("lifeline " + self.family, nullptr);
  order.engine.lifeline = lifeline->fd();
  exchange.make_final();
  live_clone::Outcome outcome;
  try {
    outcome = copy_process(order, self, *lifeline);
  } catch (...) {
    if (exchange.lease().became_clone()) throw;  // a handler of on_clone() did not like it here
    exchange.answer("failed " + std::to_string(ECANCELED) +
                    " a handler that runs before the copy refused it");
    throw;
  }
  if (outcome.index > 0) {
    turn.unlock();
    const Identity &mine = known_identity(nullptr);
    finish_clone({mine.vmid, mine.ip, ticket, true});
    return mine.vmid;
  }
  if (outcome.index < 0) fail(exchange, outcome.err, outcome.message);
  try {
    hand_over(exchange, outcome);
    const auto line = exchange.next();
    if (line.word != "ok") Fields(line.word + " " + line.rest).malformed();
  } catch (...) {
    live_clone::abort();
    throw;
  }
  live_clone::commit();
  for (const int fd : outcome.pidfds) ::close(fd);
  turn.unlock();
  trace_cloning(order.engine, outcome);
  finish_caller(context);
  return 0;
}

// The hypervisor has cloned the whole machine, or only its books say so: 0 in the caller, the vmid in each clone.
int machine_was_cloned(const std::string &ticket, int vmid) {
  if (vmid <= 0 && !in_machine()) return 0;
  if (vmid > 0) in_machine() ? finish_clone_handlers() : run_clone_handlers(vmid);
  const Identity &mine = known_identity(nullptr);
  const HookContext context{mine.vmid, mine.ip, ticket, vmid > 0};
  vmid > 0 ? finish_clone(context) : finish_caller(context);
  return vmid;
}

// Before anybody is asked or stopped.
void refuse_what_repeats(const std::vector<generators::Repeating> &found_by_binding) {
  const auto lines = generators::what_repeats(0, found_by_binding);
  if (lines.empty()) return;
  std::string text = "GRIDCENTRIC_STRICT is set, and " + lines[0];
  if (lines.size() > 1) text += "; and " + std::to_string(lines.size() - 1) + " more, see explain()";
  throw Error(GC_E_NOT_SUPPORTED, text);
}

// The machine stands still as soon as the host has been asked: this is the last moment for the pre-clone hook.
void prepare_machine(const std::string &ticket) {
  const Identity &mine = known_identity(nullptr);
  if (const auto outcome = run_hook("pre-clone", {mine.vmid, mine.ip, ticket, false}); outcome.status != 0)
    throw Error(GC_E_CLONE_FAILED, outcome.text);
}

}  // namespace

int clone(const std::string &ticket, Call *call, const std::vector<generators::Repeating> &found_by_binding) {
  const std::string request = "clone " + checked_ticket(ticket);
  if (generators::strict()) refuse_what_repeats(found_by_binding);
  run_before_handlers();  // the host knows nothing yet: one that says no has changed nothing
  generators::find_libraries();
  if (in_machine()) prepare_machine(ticket);
  Exchange exchange(request, call);
  try {
    const auto line = exchange.next();
    if (line.word == "ok") return machine_was_cloned(ticket, Fields(line.rest).number());
    if (line.word == "fork") return clone_this_process(exchange, ticket, line.rest);
    Fields(line.word + " " + line.rest).malformed();
  } catch (const Error &error) {
    // Too late: the clones are there. And this may be one, whose program has noticed it before the reply was read.
    if (error.code == error_cancelled && exchange.won())
      return machine_was_cloned(ticket, Fields(exchange.won_fields()).number());
    throw;
  }
}

const std::vector<std::uintptr_t> &thread_pointers() noexcept { return pointers_of_threads; }

void before_clone(std::function<void()> handler) {
  if (!handler)
    throw Error(GC_E_INVALID_ARGUMENT, "the handler of before_clone is empty, expected a function");
  add_before_handler(std::move(handler));
}

void on_clone(std::function<void(int)> handler) {
  if (!handler) throw Error(GC_E_INVALID_ARGUMENT, "the handler of on_clone is empty, expected a function");
  add_clone_handler(std::move(handler));
}

}  // namespace gridcentric::guest
