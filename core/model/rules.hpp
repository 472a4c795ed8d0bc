// The rules of families, tickets and barriers (docs/protocol.md, "What the calls mean"), numbered as there.
// Start reading here: ledger.hpp (CPUs and the line), barrier.hpp and registry.hpp (who is who) are its
// parts.
//
// Pure: no clock, socket, process or driver. Time comes in with each call (milliseconds, never decreasing);
// what the world must do comes out as a list of events. The same calls give the same answers and events. Not
// thread-safe: one thread at a time.
#pragma once
#include <cstdint>
#include <gridcentric/domain.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/error.hpp"

namespace gridcentric {

using CallId = std::uint64_t;  // a waiting call; chosen by the user of the rules, increasing, never reused

enum class Verb {  // calls that the rules may keep open
#define GC_WAITING_CALL(word) word,
#include <gridcentric/vocabulary.def>
};
enum class TicketStatus {
#define GC_TICKET_STATUS(NAME, word) word,
#include <gridcentric/vocabulary.def>
};
enum class DomainState {
#define GC_DOMAIN_STATE(word) word,
#include <gridcentric/vocabulary.def>
};
std::string_view word(Verb);
std::string_view word(TicketStatus);
std::string_view word(DomainState);
std::string_view word(EndKind);

struct TicketInfo {
  std::string id;
  TicketStatus status = TicketStatus::pending;
  std::int64_t cpus = 0;
  std::int64_t vms = 0;
  std::int64_t mincpuspervm = 0;
  int owner = 0;  // vmid of the domain that asked for it
};

struct DomainInfo {
  DomainKey key = 0;
  std::string family;
  int vmid = 0;
  int parent = -1;  // -1: the master
  std::string ticket;
  DomainState state = DomainState::running;
  std::int64_t born_ms = 0;
  std::string name;
};

struct Result {
  int vmid = 0;
  EndKind how{};
  int status = 0;
  std::optional<std::string> report;
};

struct CallInfo {
  CallId call = 0;
  DomainKey domain = 0;
  Verb verb{};
};

struct TicketAnswer : Answer {
  TicketInfo ticket;
};

// What has to be done now, in this order.
struct Event {
  enum class Kind {
    reply,         // answer `call` (code, text; ticket of request_ticket; results of wait) and forget it
    drop,          // forget `call`, it gets no answer: its domain has ended
    start_clone,   // make `clones` of `domain` for `call`; then clone_done(call, ...)
    cancel_clone,  // the cloning `call` of `domain` is not wanted any more: undo it; then clone_done(call,
                   // ...)
    reserve,       // can the driver make `least` to `most` VMs for `ticket`? Then reserved(call, ...)
    release,  // `ticket` needs its VMs no longer, or not any more before reserved() has said that it has them
    end_domain,  // end `domain`; then ended(domain, ...)
  };
  Kind kind{};
  CallId call = 0;
  DomainKey domain = 0;
  Verb verb{};
  Answer answer;
  std::string ticket;
  std::vector<Result> results;
  std::vector<DomainKey> clones;
  std::vector<int> vmids;
  int cpus_per_vm = 1;
  std::int64_t least = 0, most = 0;
};

// What a domain may ask for next.
struct Expectation {
  DomainKey domain = 0;
  int clones = 0;  // that its reserved tickets are for, in all; 0 too when it has ended
};

class Rules {
 public:
  static constexpr std::size_t max_report = 1 << 20;  // bytes, rule 8
  static constexpr std::size_t max_closed = 1000;     // closed tickets of a family, rule 9
  static constexpr std::size_t max_reports =
      128 << 20;  // bytes of the reports that a family's tickets hold, rule 9

  // cpus: what the host offers in all, at least 1. seed: of the UUIDs.
  explicit Rules(std::int64_t cpus, std::uint64_t seed = 0, std::size_t most_reports = max_reports);
  ~Rules();
  Rules(Rules &&) noexcept;
  Rules &operator=(Rules &&) noexcept;

  // Forget everything; the sequences of UUIDs and keys go on. No events.
  void clear();

  // --- domains -------------------------------------------------------------------------------------------
  DomainKey adopt(OnExit on_exit, std::string name, std::int64_t now);  // a new family's master
  void set_on_exit(DomainKey master, OnExit on_exit);                   // ignored for clones
  void set_name(DomainKey domain, std::string name);
  void bye(DomainKey domain);
  // A domain is gone. Unknown keys, and clones that are starting, are ignored.
  void ended(DomainKey domain, EndKind how, int status, std::int64_t now);

  // --- calls of a domain that are answered at once -------------------------------------------------------
  Answer release_ticket(DomainKey caller, std::string_view ticket, std::int64_t now);
  // A reserved ticket becomes that of another domain of the family (rule 16).
  Answer hand_over(DomainKey caller, std::string_view ticket, std::int64_t vmid, std::int64_t now);
  // A closed ticket and its reports: its owner has read them.
  Answer forget_ticket(DomainKey caller, std::string_view ticket, std::int64_t now);
  TicketAnswer ticket_info(DomainKey caller, std::string_view ticket) const;
  Answer join(DomainKey caller, std::optional<std::string> report);
  Answer kill(DomainKey caller, std::int64_t vmid);
  Answer list_tickets(DomainKey caller, std::vector<TicketInfo> *tickets) const;
  Answer list_domains(DomainKey caller, std::vector<DomainInfo> *domains) const;
  // Is the caller there and not ending? The check that every call of a domain begins with (rule 8).
  Answer check_caller(DomainKey caller) const;

  // --- calls that wait: answered by an event, perhaps at once ----------------------------------------------
  void request_ticket(CallId call, DomainKey caller, std::int64_t maxcpus, std::int64_t minvms,
                      std::int64_t mincpuspervm, std::int64_t timeout, std::int64_t now);
  void clone(CallId call, DomainKey caller, std::string_view ticket, std::int64_t now);
  // ticket "-": the one the caller was made with.
  void sync(CallId call, DomainKey caller, std::string_view ticket, std::int64_t timeout, std::int64_t now);
  void wait(CallId call, DomainKey caller, std::string_view ticket, std::int64_t timeout, std::int64_t now);
  // The asker is gone or took its call back: as if it had never waited, no event for it. Unknown calls are
  // ignored.
  void cancel(CallId call, std::int64_t now);

  // The answer to reserve. Ignored when the request has gone meanwhile: release has said so.
  void reserved(CallId call, const Reservation &answer, std::int64_t now);
  // What was answered `later` may be granted now: the head of the line is asked for again.
  void ask_again(std::int64_t now);

  // The answer to start_clone or cancel_clone, once for each start_clone. code: CLONE_FAILED or
  // NOT_SUPPORTED.
  void clone_done(CallId call, Answer answer, std::int64_t now);

  // --- time ------------------------------------------------------------------------------------------------
  void advance(std::int64_t now);  // time out what is due, in the order of deadlines
  std::optional<std::int64_t> next_deadline() const;

  std::vector<Event> take_events();
  // Of the domains for which it may have changed since the last time. A hint: nobody has to act on it.
  std::vector<Expectation> take_expectations();

  // --- everything, for observers and tests -----------------------------------------------------------------
  std::int64_t cpus() const;
  std::int64_t cpus_free() const;
  std::size_t queue_length() const;
  std::size_t family_count() const;
  std::size_t domain_count() const;
  std::optional<DomainInfo> domain(DomainKey domain) const;
  DomainKey find(std::string_view family, std::int64_t vmid) const;  // 0: none
  std::vector<DomainInfo> all_domains() const;  // families in the order of birth, then by vmid
  std::vector<std::pair<std::string, TicketInfo>> all_tickets()
      const;                                // (family, ticket), in the order of request
  std::vector<CallInfo> all_calls() const;  // by id
  std::size_t open_calls(Verb verb) const;
  // End a domain from outside any family; vmid 0: the whole family.
  Answer kill_domain(std::string_view family, std::int64_t vmid);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gridcentric
