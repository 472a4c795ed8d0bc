#include "core/guest/clone_call.hpp"

#include <algorithm>
#include <span>

#include "core/guest/reply.hpp"
#include "core/guest/ticket.hpp"
#include "core/wire/cloning.hpp"

namespace gridcentric::guest {
namespace {

[[noreturn]] void malformed(const Exchange::Line &line) { Fields(line.word + " " + line.rest).malformed(); }

}  // namespace

CloneCall::CloneCall(const std::string &ticket, Call *call)
    : exchange_("clone " + checked_ticket(ticket), call) {}

std::variant<Cloned, CloneOrder> CloneCall::reply() {
  try {
    const auto line = exchange_.next();
    if (line.word == "ok") return Cloned{Fields(line.rest).number()};
    if (line.word != wire::order_word) malformed(line);
    auto order = wire::read_order(line.rest);
    const bool known = order && (order->mode == live_clone::mode_name(live_clone::Mode::pidns) ||
                                 order->mode == live_clone::mode_name(live_clone::Mode::plain));
    if (!known) malformed(line);
    return std::move(*order);
  } catch (const Error &error) {
    // Too late: the clones are there. And this may be one, whose program has noticed it before the reply was read.
    if (error.code == error_cancelled && exchange_.won())
      return Cloned{Fields(exchange_.won_fields()).number()};
    throw;
  }
}

void CloneCall::report_failure(int error, const std::string &reason) {
  exchange_.answer(wire::write_answer(clone_answer::Failed{error, reason}));
}

void CloneCall::fail(int error, const std::string &reason) {
  report_failure(error, reason);
  malformed(exchange_.next());  // an error is thrown
}

void CloneCall::hand_over(const live_clone::Outcome &outcome) {
  const std::span<const int> all(outcome.pidfds);
  for (std::size_t at = 0; at < all.size(); at += wire::most_descriptors) {
    const auto part = all.subspan(at, std::min(wire::most_descriptors, all.size() - at));
    exchange_.answer(wire::write_held(part.size()), part);
  }
  for (std::size_t i = 0; i < outcome.ports.size() && i < most_bound_ports; ++i) {
    const auto &[tcp, v6, port] = outcome.ports[i];
    exchange_.answer(wire::write_answer(clone_answer::Bound{{tcp, v6, port}}));
  }
  exchange_.answer(wire::write_answer(clone_answer::Forked{static_cast<std::int64_t>(all.size())}));
  const auto line = exchange_.next();
  if (line.word != "ok") malformed(line);
}

}  // namespace gridcentric::guest
