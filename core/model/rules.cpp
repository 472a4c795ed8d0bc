// Tickets and the calls that wait. The line of requests: rules_line.cpp; domains, clonings and ends: rules_domains.cpp; what
// observers see: rules_view.cpp.
#include "core/model/rules.hpp"

#include <algorithm>
#include <utility>

#include "core/model/rules_state.hpp"

namespace gridcentric {
namespace {

constexpr std::int64_t int32_max = 2147483647;

std::string number(std::int64_t value) { return std::to_string(value); }

Answer invalid(std::string text) { return {Code::INVALID_ARGUMENT, std::move(text)}; }

// Rule 1's ranges; what can be promised at all is the ledger's question.
Answer check_counts(std::int64_t maxcpus, std::int64_t minvms, std::int64_t mincpuspervm) {
  const std::pair<const char *, std::int64_t> counts[] = {
      {"maxcpus", maxcpus}, {"minvms", minvms}, {"mincpuspervm", mincpuspervm}};
  for (const auto &[name, value] : counts)
    if (value < 1 || value > int32_max)
      return invalid(std::string(name) + " is " + number(value) + ", expected 1 to " + number(int32_max));
  return {};
}

Answer check_timeout(std::int64_t timeout) {
  if (timeout >= -int32_max - 1 && timeout <= int32_max) return {};
  return invalid("timeout is " + number(timeout) + ", expected milliseconds up to " + number(int32_max) +
                 "; 0 tries once, a negative one waits for ever");
}

}  // namespace

Rules::Rules(std::int64_t cpus, std::uint64_t seed, std::size_t most_reports)
    : state_(std::make_unique<State>(cpus, seed, most_reports)) {}
Rules::~Rules() = default;
Rules::Rules(Rules &&) noexcept = default;
Rules &Rules::operator=(Rules &&) noexcept = default;

void Rules::clear() {
  State &s = *state_;
  s.calls.clear();
  s.clonings.clear();
  s.deadlines.clear();
  s.events.clear();
  s.expectations.clear();
  s.registry.clear();
  s.ledger = Ledger(s.ledger.total());
  s.asked = s.put_off = 0;
}

std::vector<Event> Rules::take_events() { return std::exchange(state_->events, {}); }

std::vector<Expectation> Rules::take_expectations() {
  std::vector<Expectation> changed;
  for (const auto &[domain, clones] : std::exchange(state_->expectations, {}))
    changed.push_back({domain, static_cast<int>(clones)});  // never more than the host's CPUs
  return changed;
}

// --- requests --------------------------------------------------------------------------------------------

void Rules::request_ticket(CallId call, DomainKey caller, std::int64_t maxcpus, std::int64_t minvms,
                           std::int64_t mincpuspervm, std::int64_t timeout, std::int64_t now) {
  advance(now);
  State &s = *state_;
  const auto refuse = [&](Answer answer) { s.reply(call, Verb::request_ticket, caller, std::move(answer)); };
  if (Answer bad = check_counts(maxcpus, minvms, mincpuspervm); !bad.ok()) return refuse(std::move(bad));
  if (Answer bad = check_timeout(timeout); !bad.ok()) return refuse(std::move(bad));
  Domain *domain;
  if (Answer bad = s.find_caller(caller, &domain); !bad.ok()) return refuse(std::move(bad));
  const Ledger::Request request{call, maxcpus, minvms, mincpuspervm};
  if (!s.ledger.possible(request))
    return refuse(invalid("minvms * mincpuspervm is " + number(minvms * mincpuspervm) +
                          ", expected at most maxcpus (" + number(maxcpus) +
                          ") and at most the host's CPUs (" + number(s.ledger.total()) + "): ask for fewer"));

  if (timeout == 0 && !s.ledger.at_once(request))
    return refuse({Code::TIMED_OUT, number(minvms * mincpuspervm) + " CPUs wanted, " +
                                        number(s.ledger.free()) + " free, " +
                                        number(static_cast<std::int64_t>(s.ledger.waiting())) +
                                        " waiting before: try later or with a longer timeout"});
  Ticket &ticket = s.registry.new_ticket(s.uuids.next(), *domain);
  ticket.mincpuspervm = mincpuspervm;
  s.open(call, Verb::request_ticket, *domain, ticket, timeout, now);
  const bool is_head = s.ledger.waiting() == 0;
  s.ledger.wait_in_line(request);
  if (is_head) s.serve_line();
}

Answer Rules::release_ticket(DomainKey caller, std::string_view id, std::int64_t now) {
  advance(now);
  State &s = *state_;
  Domain *domain;
  Ticket *ticket;
  if (Answer bad = s.find_own_ticket(caller, id, "release it", &domain, &ticket); !bad.ok()) return bad;
  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): find_own_ticket() was ok, so it gave both
  if (ticket->status == TicketStatus::reserved) {
    s.release(*ticket);
    s.serve_line();
    return {};
  }
  if (ticket->status != TicketStatus::pending)
    return {Code::TICKET_USED, "ticket " + std::string(id) + " is " + std::string(word(ticket->status)) +
                                   ", only a reserved or pending one can be released"};
  const auto waiting = std::find_if(domain->calls.begin(), domain->calls.end(),
                                    [&](CallId call) { return s.calls.at(call).ticket == ticket; });
  const CallId call = *waiting;
  s.finish(call, {Code::NO_SUCH_TICKET, "ticket " + std::string(id) + " was released while it waited"});
  s.leave_line(call, *ticket);
  s.serve_line();
  return {};
}

TicketAnswer Rules::ticket_info(DomainKey caller, std::string_view id) const {
  State &s = *state_;
  TicketAnswer answer;
  Domain *domain;
  Ticket *ticket;
  if (Answer bad = s.find_ticket(caller, id, &domain, &ticket); !bad.ok()) return {std::move(bad), {}};
  // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): find_ticket() was ok, so it gave both
  answer.ticket = s.info(*ticket);
  return answer;
}

// --- sync and wait ---------------------------------------------------------------------------------------

void Rules::sync(CallId call, DomainKey caller, std::string_view id, std::int64_t timeout, std::int64_t now) {
  advance(now);
  State &s = *state_;
  const auto refuse = [&](Answer answer) { s.reply(call, Verb::sync, caller, std::move(answer)); };
  if (Answer bad = check_timeout(timeout); !bad.ok()) return refuse(std::move(bad));
  Domain *domain;
  Ticket *ticket;
  if (id == "-") {
    if (Answer bad = s.find_caller(caller, &domain); !bad.ok()) return refuse(std::move(bad));
    if (domain->vmid == 0)
      return refuse(invalid("ticket is -, expected a UUID: only a clone was made with a ticket"));
    ticket = domain->born_of;
  } else if (Answer bad = s.find_ticket(caller, id, &domain, &ticket); !bad.ok()) {
    return refuse(std::move(bad));
  }
  if (ticket->owner != domain && (domain->born_of != ticket))
    return refuse({Code::NOT_YOUR_TICKET, "domain " + number(domain->vmid) + " neither requested ticket " +
                                              std::string(id) + " nor was made with it"});
  if (!ticket->barrier)
    return refuse(
        invalid("ticket " + ticket->id.text() +
                (ticket->born_with_master ? " is the master's own" : " has no clones yet: clone() first")));

  switch (ticket->barrier->arrive(domain->key, call)) {
    case Barrier::Arrival::broken:
      return refuse({Code::BARRIER_BROKEN, "a member of ticket " + ticket->id.text() + " has ended"});
    case Barrier::Arrival::twice:
      return refuse(invalid("domain " + number(domain->vmid) + " waits at the barrier of ticket " +
                            ticket->id.text() + " already, expected one sync at a time"));
    case Barrier::Arrival::passes:
      s.open(call, Verb::sync, *domain, *ticket, -1, now);
      return s.finish_all(ticket->barrier->start_anew(), {});
    case Barrier::Arrival::waits:
      s.open(call, Verb::sync, *domain, *ticket, timeout, now);
      if (timeout == 0) s.time_out(call);
  }
}

void Rules::wait(CallId call, DomainKey caller, std::string_view id, std::int64_t timeout, std::int64_t now) {
  advance(now);
  State &s = *state_;
  const auto refuse = [&](Answer answer) { s.reply(call, Verb::wait, caller, std::move(answer)); };
  if (Answer bad = check_timeout(timeout); !bad.ok()) return refuse(std::move(bad));
  Domain *domain;
  Ticket *ticket;
  if (Answer bad = s.find_own_ticket(caller, id, "wait for its clones", &domain, &ticket); !bad.ok())
    return refuse(std::move(bad));
  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): find_own_ticket() was ok, so it gave both
  if (!ticket->barrier)
    return refuse(
        invalid("ticket " + std::string(id) +
                (ticket->born_with_master ? " is the master's own" : " has no clones yet: clone() first")));
  s.open(call, Verb::wait, *domain, *ticket, timeout, now);
  if (ticket->status == TicketStatus::closed) return s.answer_wait(call, *ticket);
  ticket->waiters.insert(call);
  if (timeout == 0) s.time_out(call);
}

// --- time and cancelling ---------------------------------------------------------------------------------

void Rules::advance(std::int64_t now) {
  State &s = *state_;
  while (!s.deadlines.empty() && s.deadlines.begin()->first <= now) s.time_out(s.deadlines.begin()->second);
}

std::optional<std::int64_t> Rules::next_deadline() const {
  if (state_->deadlines.empty()) return std::nullopt;
  return state_->deadlines.begin()->first;
}

void Rules::cancel(CallId call, std::int64_t now) {
  advance(now);
  if (!state_->calls.contains(call)) return;
  state_->withdraw(call);
  state_->serve_line();
}

void Rules::State::open(CallId call, Verb verb, Domain &domain, Ticket &ticket, std::int64_t timeout,
                        std::int64_t now) {
  OpenCall &open = calls.emplace(call, OpenCall{verb, &domain, &ticket, std::nullopt}).first->second;
  domain.calls.insert(call);
  open.once = timeout == 0;
  if (timeout <= 0) return;  // 0 is answered at once by those who open it, negative waits for ever
  open.deadline = now + timeout;
  deadlines.emplace(*open.deadline, call);
}

OpenCall Rules::State::close_call(CallId call) {
  const auto found = calls.find(call);
  const OpenCall open = found->second;
  if (open.deadline) deadlines.erase({*open.deadline, call});
  open.domain->calls.erase(call);
  calls.erase(found);
  return open;
}

Event &Rules::State::reply(CallId call, Verb verb, DomainKey domain, Answer answer) {
  Event &event = events.emplace_back();
  event.kind = Event::Kind::reply;
  event.call = call;
  event.domain = domain;
  event.verb = verb;
  event.answer = std::move(answer);
  return event;
}

Event &Rules::State::finish(CallId call, Answer answer) {
  const OpenCall open = close_call(call);
  return reply(call, open.verb, open.domain->key, std::move(answer));
}

void Rules::State::finish_all(const Barrier::Calls &waiting, const Answer &answer) {
  for (const CallId call : waiting) finish(call, answer);
}

void Rules::State::withdraw(CallId call) {
  const OpenCall open = close_call(call);
  switch (open.verb) {
    case Verb::request_ticket:
      return leave_line(call, *open.ticket);
    case Verb::sync:
      return open.ticket->barrier->withdraw(open.domain->key, call);
    case Verb::wait:
      open.ticket->waiters.erase(call);
      return;
    case Verb::clone:
      return abandon_cloning(call);
  }
}

void Rules::State::time_out(CallId call) {
  const OpenCall open = calls.at(call);
  const std::string id = open.ticket->id.text();
  Barrier::Calls others;
  switch (open.verb) {
    case Verb::request_ticket:
      finish(call,
             {Code::TIMED_OUT, "not enough CPUs became free in time: try later or with a longer timeout"});
      leave_line(call, *open.ticket);
      return serve_line();
    case Verb::wait:
      finish(call, {Code::TIMED_OUT,
                    number(open.ticket->living) + " clones of ticket " + id + " have not ended in time"});
      open.ticket->waiters.erase(call);
      return;
    case Verb::sync:
      finish(call, {Code::TIMED_OUT, "not all members of ticket " + id + " arrived in time"});
      open.ticket->barrier->withdraw(open.domain->key, call);
      return finish_all(
          open.ticket->barrier->start_anew(),
          {Code::BARRIER_BROKEN, "domain " + number(open.domain->vmid) + " waited past its timeout"});
    case Verb::clone:
      return;  // has no timeout
  }
}

// --- CPUs and tickets ------------------------------------------------------------------------------------

Answer Rules::State::find_caller(DomainKey key, Domain **domain) {
  *domain = registry.domain(key);
  if (!*domain) return invalid("this domain has ended, it can call nothing");
  if ((*domain)->state != DomainState::running)
    return invalid("domain " + number((*domain)->vmid) + " is " + std::string(word((*domain)->state)) +
                   ", it can call nothing");
  return {};
}

Answer Rules::State::find_ticket(DomainKey caller, std::string_view id, Domain **domain, Ticket **ticket) {
  const auto uuid = Uuid::parse(id);
  if (!uuid)
    return invalid("ticket is \"" + std::string(id.substr(0, 64)) +
                   "\", expected a UUID of 36 characters in lower case");
  if (Answer bad = find_caller(caller, domain); !bad.ok()) return bad;
  *ticket = registry.ticket(*uuid);
  if (!*ticket)
    return {Code::NO_SUCH_TICKET,
            "there is no ticket " + std::string(id) + " (any more): of a family the last " +
                number(static_cast<std::int64_t>(Rules::max_closed)) +
                " closed ones are kept, with at most " +
                number(static_cast<std::int64_t>(most_reports >> 20)) + " MiB of reports"};
  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): find_caller() was ok, so it gave the domain
  if ((*ticket)->family != (*domain)->family)
    return {Code::NOT_YOUR_TICKET, "ticket " + std::string(id) + " belongs to another family"};
  return {};
}

Answer Rules::State::find_own_ticket(DomainKey caller, std::string_view id, std::string_view what,
                                     Domain **domain, Ticket **ticket) {
  if (Answer bad = find_ticket(caller, id, domain, ticket); !bad.ok()) return bad;
  if ((*ticket)->owner == *domain) return {};
  return {Code::NOT_YOUR_TICKET, "ticket " + std::string(id) + " was requested by domain " +
                                     number((*ticket)->owner_vmid) + ", only that one can " +
                                     std::string(what)};
}

void Rules::State::close_ticket(Ticket &ticket) {
  std::sort(ticket.results.begin(), ticket.results.end(),
            [](const Result &a, const Result &b) { return a.vmid < b.vmid; });
  Family &family = *ticket.family;
  const Uuid id = ticket.id;
  const std::int64_t cpus = ticket.cpus;
  registry.close(ticket);
  for (const CallId call : std::exchange(ticket.waiters, {})) answer_wait(call, ticket);
  if (!ticket.owner || ticket.unwanted) {
    registry.forget(ticket);
  } else if (family.closed.size() > max_closed) {
    registry.forget(*family.closed.begin()->second);
  }
  give_back(id, cpus);
}

void Rules::State::answer_wait(CallId call, const Ticket &ticket) {
  finish(call, {}).results = ticket.results;
}

void Rules::State::break_barrier(Ticket &ticket, const Domain &ended) {
  if (!ticket.barrier) return;
  finish_all(ticket.barrier->break_for_ever(),
             {Code::BARRIER_BROKEN, "domain " + number(ended.vmid) + " has ended"});
}

}  // namespace gridcentric
