// What can be seen of the rules: lists for guests, everything for observers and tests.
#include "core/model/rules_state.hpp"

namespace gridcentric {

std::string_view word(Verb verb) {
  switch (verb) {
#define GC_WAITING_CALL(word) \
  case Verb::word:            \
    return #word;
#include <gridcentric/vocabulary.def>
  }
  return "";
}

std::string_view word(TicketStatus status) {
  switch (status) {
#define GC_TICKET_STATUS(NAME, word) \
  case TicketStatus::word:           \
    return #word;
#include <gridcentric/vocabulary.def>
  }
  return "";
}

std::string_view word(DomainState state) {
  switch (state) {
#define GC_DOMAIN_STATE(word) \
  case DomainState::word:     \
    return #word;
#include <gridcentric/vocabulary.def>
  }
  return "";
}

std::string_view word(EndKind how) {
  switch (how) {
#define GC_END_KIND(NAME, word) \
  case EndKind::word:           \
    return #word;
#include <gridcentric/vocabulary.def>
  }
  return "";
}

TicketInfo Rules::State::info(const Ticket &ticket) const {
  return {ticket.id.text(), ticket.status, ticket.cpus, ticket.vms, ticket.mincpuspervm, ticket.owner_vmid};
}

DomainInfo Rules::State::info(const Domain &domain) const {
  return {domain.key,   domain.family->id.text(), domain.vmid, domain.parent, domain.born_of->id.text(),
          domain.state, domain.born_ms,           domain.name};
}

Answer Rules::list_tickets(DomainKey caller, std::vector<TicketInfo> *tickets) const {
  Domain *domain;
  if (Answer bad = state_->find_caller(caller, &domain); !bad.ok()) return bad;
  for (const auto &[order, ticket] : domain->family->tickets) tickets->push_back(state_->info(*ticket));
  return {};
}

Answer Rules::list_domains(DomainKey caller, std::vector<DomainInfo> *domains) const {
  Domain *domain;
  if (Answer bad = state_->find_caller(caller, &domain); !bad.ok()) return bad;
  for (const auto &[vmid, member] : domain->family->domains) domains->push_back(state_->info(*member));
  return {};
}

std::int64_t Rules::cpus() const { return state_->ledger.total(); }
std::int64_t Rules::cpus_free() const { return state_->ledger.free(); }
std::size_t Rules::queue_length() const { return state_->ledger.waiting(); }
std::size_t Rules::family_count() const { return state_->registry.families().size(); }
std::size_t Rules::domain_count() const { return state_->registry.domain_count(); }

std::optional<DomainInfo> Rules::domain(DomainKey key) const {
  const Domain *domain = state_->registry.domain(key);
  return domain ? std::optional(state_->info(*domain)) : std::nullopt;
}

DomainKey Rules::find(std::string_view id, std::int64_t vmid) const {
  const auto uuid = Uuid::parse(id);
  const Family *family = uuid ? state_->registry.family(*uuid) : nullptr;
  if (!family || vmid < 0 || vmid > 2147483647) return 0;
  const auto found = family->domains.find(static_cast<int>(vmid));
  if (found == family->domains.end() || found->second->state == DomainState::starting) return 0;  // rule 14
  return found->second->key;
}

std::vector<DomainInfo> Rules::all_domains() const {
  std::vector<DomainInfo> all;
  for (const auto &[order, family] : state_->registry.families())
    for (const auto &[vmid, domain] : family->domains) all.push_back(state_->info(*domain));
  return all;
}

std::vector<std::pair<std::string, TicketInfo>> Rules::all_tickets() const {
  std::vector<std::pair<std::string, TicketInfo>> all;
  for (const auto &[birth, family] : state_->registry.families())
    for (const auto &[order, ticket] : family->tickets)
      all.emplace_back(family->id.text(), state_->info(*ticket));
  return all;
}

std::vector<CallInfo> Rules::all_calls() const {
  std::vector<CallInfo> all;
  for (const auto &[call, open] : state_->calls) all.push_back({call, open.domain->key, open.verb});
  return all;
}

std::size_t Rules::open_calls(Verb verb) const {
  std::size_t count = 0;
  for (const auto &[call, open] : state_->calls) count += open.verb == verb;
  return count;
}

}  // namespace gridcentric
