// The records: families, their domains and tickets. Keeps them, finds them, forgets them; decides nothing.
// Pointers stay valid until the thing is forgotten.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "core/model/barrier.hpp"
#include "core/model/rules.hpp"
#include "core/model/uuid.hpp"

namespace gridcentric {

struct Domain;
struct Family;

struct Ticket {
  Uuid id;
  Family *family = nullptr;
  Domain *owner = nullptr;    // nullptr: has ended
  int owner_vmid = 0;         // of whom it has been last
  std::uint64_t order = 0;    // of request
  std::uint64_t closing = 0;  // order of closing; 0: not closed
  TicketStatus status = TicketStatus::pending;
  bool born_with_master = false;
  bool unwanted = false;  // its asker has gone: forgotten as soon as nothing of it is left
  std::int64_t cpus = 0;
  std::int64_t vms = 0;
  std::int64_t mincpuspervm = 1;
  std::int64_t living = 0;         // clones
  std::optional<Barrier> barrier;  // once its clones are there
  std::set<CallId> waiters;        // of wait()
  std::vector<Result> results;     // of ended clones, in the order of their ends
  std::size_t report_bytes = 0;    // of the reports that its clones have joined with
};

struct Domain {
  DomainKey key = 0;
  Family *family = nullptr;
  Ticket *born_of = nullptr;
  int vmid = 0;
  int parent = -1;
  DomainState state = DomainState::running;
  bool joined = false;
  std::int64_t born_ms = 0;
  std::string name;
  std::optional<std::string> report;
  std::set<CallId> calls;         // open ones
  std::vector<Ticket *> tickets;  // that it owns
  bool cloning = false;           // a driver clones it: one at a time
  std::int64_t expected = 0;      // clones that its reserved tickets are for
};

struct Family {
  Uuid id;
  std::uint64_t order = 0;  // of birth
  OnExit on_exit = OnExit::by_bye;
  bool bye = false;
  bool ending = false;
  int last_vmid = 0;
  std::map<int, Domain *> domains;
  std::map<std::uint64_t, Ticket *> tickets;  // by order of request
  std::map<std::uint64_t, Ticket *> closed;   // by order of closing
  std::size_t report_bytes = 0;               // of its tickets
};

class Registry {
 public:
  Family &new_family(const Uuid &id);
  Domain &new_domain(Family &family, int vmid, int parent, Ticket *born_of);
  Ticket &new_ticket(const Uuid &id, Domain &owner);
  void give(Ticket &ticket, Domain &owner);  // it has another one from now on

  void forget(Ticket &ticket);                          // its domains must have gone
  void forget(Domain &domain);                          // and its family with the last one
  void close(Ticket &ticket);                           // remembers the order of closing
  void keep_report(Ticket &ticket, std::size_t bytes);  // counts it
  void drop_reports(Ticket &ticket);                    // nobody will ever ask for them

  Family *family(const Uuid &id);
  Domain *domain(DomainKey key);
  Ticket *ticket(const Uuid &id);

  const std::map<std::uint64_t, Family *> &families() const { return by_birth_; }
  std::size_t domain_count() const { return domains_.size(); }

  void clear();  // keys go on

 private:
  std::uint64_t last_order_ = 0;
  DomainKey last_key_ = 0;
  std::unordered_map<Uuid, Family, UuidHash> families_;
  std::unordered_map<DomainKey, Domain> domains_;
  std::unordered_map<Uuid, Ticket, UuidHash> tickets_;
  std::map<std::uint64_t, Family *> by_birth_;
};

}  // namespace gridcentric
