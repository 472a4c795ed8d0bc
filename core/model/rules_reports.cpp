// How long what clones have reported is kept: until it was read, and as far as there is room.
#include <string>

#include "core/model/rules_state.hpp"

namespace gridcentric {

Answer Rules::forget_ticket(DomainKey caller, std::string_view id, std::int64_t now) {
  advance(now);
  State &s = *state_;
  Domain *domain;
  Ticket *ticket;
  if (Answer bad = s.find_own_ticket(caller, id, "forget it", &domain, &ticket); !bad.ok()) return bad;
  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): find_own_ticket() was ok, so it gave both
  if (ticket->status != TicketStatus::closed)
    return {Code::INVALID_ARGUMENT,
            "ticket " + std::string(id) + " is " + std::string(word(ticket->status)) +
                ", only a closed one can be forgotten: wait until its clones have ended"};
  s.registry.forget(*ticket);
  return {};
}

Answer Rules::State::make_room(Family &family, std::size_t bytes) {
  if (family.report_bytes + bytes <= most_reports) return {};
  std::size_t closed = 0;
  for (const auto &[order, ticket] : family.closed) closed += ticket->report_bytes;
  if (family.report_bytes - closed + bytes > most_reports)
    return {Code::TOO_LARGE, "the report has " + std::to_string(bytes) +
                                 " bytes, and the family's tickets whose clones have not all "
                                 "ended hold " +
                                 std::to_string(family.report_bytes - closed) + " of the " +
                                 std::to_string(most_reports) +
                                 " that are kept: hand over a file's name instead"};
  for (auto at = family.closed.begin(); family.report_bytes + bytes > most_reports;) {
    Ticket &ticket = *at->second;
    ++at;
    if (ticket.report_bytes > 0) registry.forget(ticket);
  }
  return {};
}

}  // namespace gridcentric
