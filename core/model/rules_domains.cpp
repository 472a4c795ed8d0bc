// Domains: their birth, by hello or by clone(), and their end. The rules are numbered as in docs/protocol.md.
#include <utility>

#include "core/model/rules_state.hpp"

namespace gridcentric {
namespace {

bool keeps_clones(const Family &family) {
  return family.on_exit == OnExit::keep || (family.on_exit == OnExit::by_bye && family.bye);
}

// Only a reserved ticket clones, and only such a one changes hands.
Answer check_reserved(const Ticket &ticket) {
  if (ticket.status == TicketStatus::reserved) return {};
  return {ticket.status == TicketStatus::pending ? Code::INVALID_ARGUMENT : Code::TICKET_USED,
          "ticket " + ticket.id.text() + " is " + std::string(word(ticket.status)) +
              ", expected a reserved one: request another"};
}

}  // namespace

// --- masters ---------------------------------------------------------------------------------------------

DomainKey Rules::adopt(OnExit on_exit, std::string name, std::int64_t now) {
  advance(now);
  State &s = *state_;
  Family &family = s.registry.new_family(s.uuids.next());
  family.on_exit = on_exit;
  Domain &master = s.registry.new_domain(family, 0, -1, nullptr);
  master.name = std::move(name);
  master.born_ms = now;
  Ticket &own = s.registry.new_ticket(s.uuids.next(), master);  // rule 4
  own.born_with_master = true;
  own.status = TicketStatus::active;
  own.cpus = own.vms = own.living = 1;
  master.born_of = &own;
  return master.key;
}

void Rules::set_on_exit(DomainKey master, OnExit on_exit) {
  Domain *domain = state_->registry.domain(master);
  if (domain && domain->vmid == 0) domain->family->on_exit = on_exit;
}

void Rules::set_name(DomainKey key, std::string name) {
  if (Domain *domain = state_->registry.domain(key)) domain->name = std::move(name);
}

void Rules::bye(DomainKey key) {
  Domain *domain = state_->registry.domain(key);
  if (domain && domain->vmid == 0) domain->family->bye = true;
}

Answer Rules::check_caller(DomainKey caller) const {
  Domain *domain;
  return state_->find_caller(caller, &domain);
}

// --- cloning ---------------------------------------------------------------------------------------------

void Rules::clone(CallId call, DomainKey caller, std::string_view id, std::int64_t now) {
  advance(now);
  State &s = *state_;
  const auto refuse = [&](Answer answer) { s.reply(call, Verb::clone, caller, std::move(answer)); };
  Domain *domain;
  Ticket *ticket;
  if (Answer bad = s.find_own_ticket(caller, id, "clone with it", &domain, &ticket); !bad.ok())
    return refuse(std::move(bad));
  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): find_own_ticket() was ok, so it gave both
  if (Answer bad = check_reserved(*ticket); !bad.ok()) return refuse(std::move(bad));
  if (domain->cloning)
    return refuse({Code::CLONE_FAILED, "this domain is cloning another ticket: try again when that is done"});

  ticket->status = TicketStatus::cloning;
  s.expect(*ticket, -1);
  s.open(call, Verb::clone, *domain, *ticket, -1, now);
  domain->cloning = true;
  Cloning &cloning = s.clonings[call];
  cloning.ticket = ticket;
  cloning.parent = domain->key;
  Event &event = s.events.emplace_back();
  event.kind = Event::Kind::start_clone;
  event.call = call;
  event.domain = domain->key;
  event.verb = Verb::clone;
  event.ticket = id;
  event.cpus_per_vm = static_cast<int>(ticket->mincpuspervm);
  Family &family = *domain->family;
  for (std::int64_t i = 0; i < ticket->vms; ++i) {
    Domain &clone = s.registry.new_domain(family, ++family.last_vmid, domain->vmid, ticket);
    clone.state = DomainState::starting;
    clone.born_ms = now;
    clone.name = domain->name;
    cloning.clones.push_back(&clone);
    event.clones.push_back(clone.key);
    event.vmids.push_back(clone.vmid);
  }
}

Answer Rules::hand_over(DomainKey caller, std::string_view id, std::int64_t vmid, std::int64_t now) {
  advance(now);
  State &s = *state_;
  Domain *domain;
  Ticket *ticket;
  if (Answer bad = s.find_own_ticket(caller, id, "hand it over", &domain, &ticket); !bad.ok()) return bad;
  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): find_own_ticket() was ok, so it gave both
  if (Answer bad = check_reserved(*ticket); !bad.ok()) return bad;
  if (vmid < 0 || vmid > 2147483647)
    return {Code::INVALID_ARGUMENT,
            "vmid is " + std::to_string(vmid) + ", expected that of a domain of the family, 0 to 2147483647"};
  const auto found = domain->family->domains.find(static_cast<int>(vmid));
  if (found == domain->family->domains.end() || found->second->state != DomainState::running)
    return {Code::NO_SUCH_DOMAIN, "the family has no running domain " + std::to_string(vmid)};
  s.expect(*ticket, -1);
  s.registry.give(*ticket, *found->second);
  s.expect(*ticket, 1);
  return {};
}

void Rules::clone_done(CallId call, Answer answer, std::int64_t now) {
  advance(now);
  State &s = *state_;
  const auto found = s.clonings.find(call);
  if (found == s.clonings.end()) return;  // forgotten by clear()
  const Cloning cloning = std::move(found->second);
  s.clonings.erase(found);
  if (Domain *parent = s.registry.domain(cloning.parent)) parent->cloning = false;
  Ticket &ticket = *cloning.ticket;

  if (answer.ok()) {
    const bool end_them = cloning.unwanted || ticket.family->ending;
    ticket.status = TicketStatus::active;
    ticket.living = ticket.vms;
    ticket.unwanted = cloning.unwanted;
    ticket.barrier.emplace(static_cast<std::size_t>(ticket.vms) + 1);
    for (Domain *clone : cloning.clones) clone->state = DomainState::running;
    if (!cloning.unwanted) s.finish(call, {});
    if (end_them)
      for (Domain *clone : cloning.clones) s.end(*clone);
    return;
  }
  if (!cloning.unwanted) {  // rule 14: the ticket is as before
    ticket.status = TicketStatus::reserved;
    s.expect(ticket, 1);
    s.finish(call, std::move(answer));
    for (Domain *clone : cloning.clones) s.registry.forget(*clone);
    return;
  }
  const Uuid ticket_id = ticket.id;
  const std::int64_t cpus = ticket.cpus;
  s.registry.forget(ticket);  // before the clones: the family may go with the last of them
  for (Domain *clone : cloning.clones) s.registry.forget(*clone);
  s.give_back(ticket_id, cpus);
  s.serve_line();
}

// Rule 15. The call itself is closed already.
void Rules::State::abandon_cloning(CallId call) {
  Cloning &cloning = clonings.at(call);
  cloning.unwanted = true;
  Event &event = events.emplace_back();
  event.kind = Event::Kind::cancel_clone;
  event.call = call;
  event.domain = cloning.parent;
  event.verb = Verb::clone;
}

// --- ends ------------------------------------------------------------------------------------------------

Answer Rules::join(DomainKey caller, std::optional<std::string> report) {
  State &s = *state_;
  Domain *domain;
  if (Answer bad = s.find_caller(caller, &domain); !bad.ok()) return bad;
  if (domain->vmid == 0)
    return {Code::INVALID_ARGUMENT, "this domain is the master, only a clone can join: exit instead"};
  if (report && report->size() > max_report)
    return {Code::TOO_LARGE, "the report has " + std::to_string(report->size()) +
                                 " bytes, expected at most " + std::to_string(max_report) +
                                 ": hand over a file's name instead"};
  Ticket &ticket = *domain->born_of;
  if (!ticket.owner) report.reset();  // nobody is left to read it
  if (report) {
    if (Answer full = s.make_room(*domain->family, report->size()); !full.ok()) return full;
    s.registry.keep_report(ticket, report->size());
  }
  domain->state = DomainState::ending;
  domain->joined = true;
  domain->report = std::move(report);
  return {};
}

void Rules::State::end(Domain &domain) {
  if (domain.state == DomainState::starting) return;  // its cloning is abandoned with its parent
  Event &event = events.emplace_back();
  event.kind = Event::Kind::end_domain;
  event.domain = domain.key;
}

void Rules::State::end_family(Family &family) {
  family.ending = true;
  for (const auto &[vmid, domain] : family.domains) end(*domain);
}

Answer Rules::kill(DomainKey caller, std::int64_t vmid) {
  State &s = *state_;
  if (vmid < 1 || vmid > 2147483647)
    return {Code::INVALID_ARGUMENT,
            "vmid is " + std::to_string(vmid) +
                ", expected that of a clone, 1 to 2147483647: a master can't be killed"};
  Domain *domain;
  if (Answer bad = s.find_caller(caller, &domain); !bad.ok()) return bad;
  const auto found = domain->family->domains.find(static_cast<int>(vmid));
  if (found == domain->family->domains.end() || found->second->state == DomainState::starting)
    return {Code::NO_SUCH_DOMAIN, "the family has no living domain " + std::to_string(vmid)};
  s.end(*found->second);
  return {};
}

Answer Rules::kill_domain(std::string_view id, std::int64_t vmid) {
  State &s = *state_;
  const auto uuid = Uuid::parse(id);
  if (!uuid)
    return {Code::INVALID_ARGUMENT,
            "family is \"" + std::string(id.substr(0, 64)) + "\", expected a UUID in lower case"};
  if (vmid < 0 || vmid > 2147483647)
    return {Code::INVALID_ARGUMENT,
            "vmid is " + std::to_string(vmid) + ", expected 0 (the family) to 2147483647"};
  Family *family = s.registry.family(*uuid);
  if (!family) return {Code::NO_SUCH_DOMAIN, "there is no family " + std::string(id) + " (any more)"};
  if (vmid == 0) {
    s.end_family(*family);
    return {};
  }
  const DomainKey key = find(id, vmid);
  if (key == 0) return {Code::NO_SUCH_DOMAIN, "the family has no living domain " + std::to_string(vmid)};
  s.end(*s.registry.domain(key));
  return {};
}

void Rules::ended(DomainKey key, EndKind how, int status, std::int64_t now) {
  advance(now);
  State &s = *state_;
  Domain *domain = s.registry.domain(key);
  if (!domain || domain->state == DomainState::starting) return;
  const Family &family = *domain->family;
  const Uuid family_id = family.id;
  const bool ends_family = domain->vmid == 0 && !family.ending && !keeps_clones(family);
  Ticket *born_of = domain->born_of->born_with_master ? nullptr : domain->born_of;
  domain->state = DomainState::ending;

  // Rule 13: its open calls have no answer. All that it frees is free before anybody is served.
  while (!domain->calls.empty()) {
    const CallId call = *domain->calls.begin();
    Event &event = s.events.emplace_back();
    event.kind = Event::Kind::drop;
    event.call = call;
    event.domain = key;
    event.verb = s.calls.at(call).verb;
    s.withdraw(call);
  }
  if (born_of) {
    Result &result = born_of->results.emplace_back();
    result.vmid = domain->vmid;
    result.how = domain->joined ? EndKind::joined : how;
    result.status = domain->joined || how == EndKind::lost ? 0 : status;
    if (domain->joined && born_of->owner) result.report = std::move(domain->report);
    --born_of->living;
    s.break_barrier(*born_of, *domain);
  }
  s.leave_tickets(*domain);
  if (born_of && born_of->living == 0) s.close_ticket(*born_of);
  s.registry.forget(*domain);
  if (Family *left = ends_family ? s.registry.family(family_id) : nullptr) s.end_family(*left);
  s.serve_line();
}

// What becomes of the tickets of a domain that has ended: rules 9 and 13.
void Rules::State::leave_tickets(Domain &domain) {
  if (domain.expected > 0) expectations[domain.key] = 0;
  for (Ticket *ticket : std::exchange(domain.tickets, {})) {
    ticket->owner = nullptr;
    break_barrier(*ticket, domain);
    switch (ticket->status) {
      case TicketStatus::reserved:
        release(*ticket);
        break;
      case TicketStatus::closed:
        registry.forget(*ticket);
        break;
      case TicketStatus::active:
        registry.drop_reports(*ticket);
        if (ticket->born_with_master) registry.forget(*ticket);
        break;
      case TicketStatus::pending:  // withdrawn with its call
      case TicketStatus::cloning:
        break;  // abandoned with its call
    }
  }
}

}  // namespace gridcentric
