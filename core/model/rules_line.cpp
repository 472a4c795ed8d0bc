// The line of requests: its head is asked of the driver, and nobody behind is served before the answer is there (rule 11).
#include <algorithm>

#include "core/model/rules_state.hpp"

namespace gridcentric {

void Rules::reserved(CallId call, const Reservation &answer, std::int64_t now) {
  advance(now);
  State &s = *state_;
  if (call == 0 || s.asked != call) return;
  s.asked = s.put_off = 0;
  const Ledger::Offer offer =
      *s.ledger.offer();  // still the same: nobody else was served, CPUs only came back
  const bool once = s.calls.at(call).once;
  Ticket &ticket = *s.calls.at(call).ticket;
  switch (answer.kind) {
    case Reservation::Kind::granted:
      s.grant(ticket, s.ledger.take(std::clamp(answer.vms, offer.request.minvms, offer.vms)));
      s.finish(call, {}).ticket = ticket.id.text();
      break;
    case Reservation::Kind::refused:
      s.finish(call, {Code::NOT_SUPPORTED, answer.reason});
      s.leave_line(call, ticket);
      break;
    case Reservation::Kind::later:
      s.put_off = call;
      if (s.freed) break;
      if (!once) return;
      s.finish(call, {Code::TIMED_OUT, answer.reason + ": try later or with a longer timeout"});
      s.leave_line(call, ticket);
  }
  s.serve_line();
}

void Rules::ask_again(std::int64_t now) {
  advance(now);
  state_->freed = true;
  state_->serve_line();
}

void Rules::State::grant(Ticket &ticket, std::int64_t cpus) {
  ticket.status = TicketStatus::reserved;
  ticket.cpus = cpus;
  ticket.vms = cpus / ticket.mincpuspervm;
  expect(ticket, 1);
}

void Rules::State::expect(const Ticket &ticket, int sign) {
  if (!ticket.owner) return;
  ticket.owner->expected += sign * ticket.vms;
  expectations[ticket.owner->key] = ticket.owner->expected;
}

void Rules::State::serve_line() {
  if (asked != 0) return;
  const auto offer = ledger.offer();
  if (!offer || (offer->request.call == put_off && !freed)) return;
  asked = offer->request.call;
  freed = false;
  const OpenCall &call = calls.at(asked);
  Event &event = events.emplace_back();
  event.kind = Event::Kind::reserve;
  event.call = asked;
  event.domain = call.domain->key;
  event.verb = Verb::request_ticket;
  event.ticket = call.ticket->id.text();
  event.cpus_per_vm = static_cast<int>(offer->request.mincpuspervm);
  event.least = offer->request.minvms;
  event.most = offer->vms;
}

void Rules::State::leave_line(CallId call, Ticket &ticket) {
  ledger.leave_line(call);
  if (asked == call || put_off == call) {
    asked = put_off = 0;
    give_back(ticket.id, 0);
  }
  registry.forget(ticket);
}

void Rules::State::release(Ticket &ticket) {
  const Uuid id = ticket.id;
  const std::int64_t cpus = ticket.cpus;
  expect(ticket, -1);
  registry.forget(ticket);
  give_back(id, cpus);
}

void Rules::State::give_back(const Uuid &ticket, std::int64_t cpus) {
  ledger.give_back(cpus);
  freed = true;
  Event &event = events.emplace_back();
  event.kind = Event::Kind::release;
  event.ticket = ticket.text();
}

}  // namespace gridcentric
