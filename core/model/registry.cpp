#include "core/model/registry.hpp"

#include <utility>

namespace gridcentric {

Family &Registry::new_family(const Uuid &id) {
  Family &family = families_[id];
  family.id = id;
  family.order = ++last_order_;
  by_birth_.emplace(family.order, &family);
  return family;
}

Domain &Registry::new_domain(Family &family, int vmid, int parent, Ticket *born_of) {
  const DomainKey key = ++last_key_;
  Domain &domain = domains_[key];
  domain.key = key;
  domain.family = &family;
  domain.vmid = vmid;
  domain.parent = parent;
  domain.born_of = born_of;
  family.domains.emplace(vmid, &domain);
  return domain;
}

Ticket &Registry::new_ticket(const Uuid &id, Domain &owner) {
  Ticket &ticket = tickets_[id];
  ticket.id = id;
  ticket.family = owner.family;
  ticket.order = ++last_order_;
  give(ticket, owner);
  owner.family->tickets.emplace(ticket.order, &ticket);
  return ticket;
}

void Registry::give(Ticket &ticket, Domain &owner) {
  if (ticket.owner) std::erase(ticket.owner->tickets, &ticket);
  ticket.owner = &owner;
  ticket.owner_vmid = owner.vmid;
  owner.tickets.push_back(&ticket);
}

void Registry::close(Ticket &ticket) {
  ticket.status = TicketStatus::closed;
  ticket.closing = ++last_order_;
  ticket.family->closed.emplace(ticket.closing, &ticket);
}

void Registry::keep_report(Ticket &ticket, std::size_t bytes) {
  ticket.report_bytes += bytes;
  ticket.family->report_bytes += bytes;
}

void Registry::drop_reports(Ticket &ticket) {
  ticket.family->report_bytes -= std::exchange(ticket.report_bytes, 0);
  for (Result &result : ticket.results) result.report.reset();
}

void Registry::forget(Ticket &ticket) {
  ticket.family->report_bytes -= ticket.report_bytes;
  if (ticket.owner) std::erase(ticket.owner->tickets, &ticket);
  ticket.family->tickets.erase(ticket.order);
  ticket.family->closed.erase(ticket.closing);
  tickets_.erase(Uuid(ticket.id));
}

void Registry::forget(Domain &domain) {
  Family &family = *domain.family;
  for (Ticket *ticket : domain.tickets) ticket->owner = nullptr;
  family.domains.erase(domain.vmid);
  domains_.erase(DomainKey(domain.key));
  if (!family.domains.empty()) return;
  while (!family.tickets.empty()) forget(*family.tickets.begin()->second);
  by_birth_.erase(family.order);
  families_.erase(Uuid(family.id));
}

Family *Registry::family(const Uuid &id) {
  const auto found = families_.find(id);
  return found == families_.end() ? nullptr : &found->second;
}

Domain *Registry::domain(DomainKey key) {
  const auto found = domains_.find(key);
  return found == domains_.end() ? nullptr : &found->second;
}

Ticket *Registry::ticket(const Uuid &id) {
  const auto found = tickets_.find(id);
  return found == tickets_.end() ? nullptr : &found->second;
}

void Registry::clear() {
  by_birth_.clear();
  tickets_.clear();
  domains_.clear();
  families_.clear();
}

}  // namespace gridcentric
