// What Rules is made of inside: the parts and the calls in flight. Only rules*.cpp include this.
#pragma once
#include <set>
#include <unordered_map>

#include "core/model/ledger.hpp"
#include "core/model/registry.hpp"
#include "core/model/rules.hpp"

namespace gridcentric {

// A call that waits. clone: until clone_done().
struct OpenCall {
  Verb verb;
  Domain *domain;
  Ticket *ticket;
  std::optional<std::int64_t> deadline;
  bool once = false;  // its time was 0: answered as soon as it is known whether it must wait
};

// From clone() to clone_done(); outlives its call and its parent when they go before.
struct Cloning {
  Ticket *ticket;
  DomainKey parent;
  std::vector<Domain *> clones;
  bool unwanted = false;  // rule 15
};

struct Rules::State {
  State(std::int64_t cpus, std::uint64_t seed, std::size_t most_reports)
      : ledger(cpus), uuids(seed), most_reports(most_reports) {}

  Ledger ledger;
  Registry registry;
  UuidSource uuids;
  std::size_t most_reports;
  std::map<CallId, OpenCall> calls;
  std::map<CallId, Cloning> clonings;
  std::set<std::pair<std::int64_t, CallId>> deadlines;
  std::vector<Event> events;
  std::map<DomainKey, std::int64_t> expectations;  // that have changed
  CallId asked = 0;  // the head of the line, while the driver has not said whether it can be granted; 0: none
  CallId put_off =
      0;  // the head of the line, when the driver has had no room for it: it is told when that leaves
  bool freed = false;  // something has become free since the driver was asked

  // Calls. open() keeps a call until finish(), which replies, or close_call(), which says nothing.
  void open(CallId call, Verb verb, Domain &domain, Ticket &ticket, std::int64_t timeout, std::int64_t now);
  OpenCall close_call(CallId call);
  Event &finish(CallId call, Answer answer);
  Event &reply(CallId call, Verb verb, DomainKey domain, Answer answer);
  void finish_all(const Barrier::Calls &calls, const Answer &answer);
  // The call is taken out of whatever it waits for. Its ticket goes with it when nobody else could want it.
  void withdraw(CallId call);
  void time_out(CallId call);

  // Lookups with their errors.
  Answer find_caller(DomainKey key, Domain **domain);
  Answer find_ticket(DomainKey caller, std::string_view id, Domain **domain, Ticket **ticket);
  // The same, of the caller's own ticket; else NOT_YOUR_TICKET, where only the owner can do `what`.
  Answer find_own_ticket(DomainKey caller, std::string_view id, std::string_view what, Domain **domain,
                         Ticket **ticket);

  // CPUs and tickets.
  void serve_line();                             // due after each leave_line(), release() and close_ticket()
  void leave_line(CallId call, Ticket &ticket);  // forgets the ticket
  void grant(Ticket &ticket, std::int64_t cpus);
  void release(Ticket &ticket);  // forgets it, its CPUs are free
  void give_back(const Uuid &ticket, std::int64_t cpus);
  void close_ticket(Ticket &ticket);
  // A ticket's clones may be asked for (1) or may not (-1) any more; nothing when its owner has ended.
  void expect(const Ticket &ticket, int sign);
  void answer_wait(CallId call, const Ticket &ticket);
  // Closed tickets are forgotten, the one closed first first, until the family may hold this many bytes more.
  Answer make_room(Family &family, std::size_t bytes);
  void break_barrier(Ticket &ticket, const Domain &ended);

  // Clonings and ends.
  void abandon_cloning(CallId call);
  void end(Domain &domain);
  void end_family(Family &family);
  void leave_tickets(Domain &domain);

  TicketInfo info(const Ticket &ticket) const;
  DomainInfo info(const Domain &domain) const;
};

}  // namespace gridcentric
