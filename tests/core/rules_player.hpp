// Makes calls to the rules and records the results, for the tests of the model. Plays the driver too: clones exist at once
// unless `drives` is false, and tickets are granted unless `grants` is false.
#pragma once
#include <doctest/doctest.h>

#include <map>

#include "core/model/rules.hpp"

struct Player {
  explicit Player(std::int64_t cpus = 8) : rules(cpus, 7) {}

  gridcentric::Rules rules;
  std::int64_t now = 0;
  bool drives = true;
  bool grants = true;
  bool checks = true;
  gridcentric::CallId last = 0;
  std::map<gridcentric::CallId, gridcentric::Event> replies;
  std::vector<gridcentric::CallId> order;  // of replies
  std::vector<gridcentric::CallId> dropped, cancelled, started;
  std::vector<gridcentric::DomainKey> ended;  // domains that the driver was told to end
  std::map<gridcentric::CallId, std::vector<gridcentric::DomainKey>> clones;
  std::vector<gridcentric::Event> asked;  // of the driver, by requests
  std::vector<std::string> released;      // tickets

  // (domain, clones) of each expectation since the last time.
  std::vector<std::pair<gridcentric::DomainKey, int>> expectations() {
    std::vector<std::pair<gridcentric::DomainKey, int>> taken;
    for (const auto &[domain, clones] : rules.take_expectations()) taken.emplace_back(domain, clones);
    return taken;
  }

  void settle() {
    using Kind = gridcentric::Event::Kind;
    for (auto events = rules.take_events(); !events.empty(); events = rules.take_events()) {
      for (auto &event : events) {
        if (event.kind == Kind::reply) {
          CHECK(!replies.contains(event.call));
          order.push_back(event.call);
          replies.emplace(event.call, event);
        }
        if (event.kind == Kind::drop) dropped.push_back(event.call);
        if (event.kind == Kind::cancel_clone) cancelled.push_back(event.call);
        if (event.kind == Kind::end_domain) ended.push_back(event.domain);
        if (event.kind == Kind::release) released.push_back(event.ticket);
        if (event.kind == Kind::reserve) {
          asked.push_back(event);
          if (grants) rules.reserved(event.call, gridcentric::Reservation::granted(event.most), now);
        }
        if (event.kind == Kind::start_clone) {
          started.push_back(event.call);
          clones[event.call] = event.clones;
          if (drives) rules.clone_done(event.call, {}, now);
        }
      }
    }
    if (checks) check_cpus();
  }

  // CPUs are neither lost nor counted twice, whatever happened.
  void check_cpus() {
    std::int64_t held = 0;
    for (const auto &[family, ticket] : rules.all_tickets())
      if (ticket.status != gridcentric::TicketStatus::closed && ticket.id != own_ticket(family))
        held += ticket.cpus;
    CHECK(held + rules.cpus_free() == rules.cpus());
  }
  // "" if its master is gone.
  std::string own_ticket(const std::string &family) {
    const auto master = rules.domain(rules.find(family, 0));
    return master ? master->ticket : "";
  }

  gridcentric::DomainKey master(gridcentric::OnExit on_exit = gridcentric::OnExit::by_bye) {
    return rules.adopt(on_exit, "test", now);
  }
  gridcentric::CallId request(gridcentric::DomainKey who, int max, int min, int per,
                              std::int64_t timeout = -1) {
    rules.request_ticket(++last, who, max, min, per, timeout, now);
    settle();
    return last;
  }
  std::string ticket(gridcentric::DomainKey who, int max, int min = 1, int per = 1) {
    const auto call = request(who, max, min, per, 0);
    REQUIRE(code(call) == gridcentric::Code::OK);
    return replies.at(call).ticket;
  }
  gridcentric::CallId clone(gridcentric::DomainKey who, const std::string &ticket) {
    rules.clone(++last, who, ticket, now);
    settle();
    return last;
  }
  gridcentric::CallId sync(gridcentric::DomainKey who, const std::string &ticket, std::int64_t timeout = -1) {
    rules.sync(++last, who, ticket, timeout, now);
    settle();
    return last;
  }
  gridcentric::CallId wait(gridcentric::DomainKey who, const std::string &ticket, std::int64_t timeout = -1) {
    rules.wait(++last, who, ticket, timeout, now);
    settle();
    return last;
  }
  void cancel(gridcentric::CallId call) {
    rules.cancel(call, now);
    settle();
  }
  void end(gridcentric::DomainKey who, gridcentric::EndKind how = gridcentric::EndKind::exited,
           int status = 0) {
    rules.ended(who, how, status, now);
    settle();
  }
  void done(gridcentric::CallId call, gridcentric::Answer answer = {}) {
    rules.clone_done(call, std::move(answer), now);
    settle();
  }
  void reserved(gridcentric::CallId call, const gridcentric::Reservation &answer) {
    rules.reserved(call, answer, now);
    settle();
  }
  void room() {
    rules.ask_again(now);
    settle();
  }
  void advance(std::int64_t to) {
    rules.advance(now = to);
    settle();
  }
  bool open(gridcentric::CallId call) const { return !replies.contains(call); }
  gridcentric::Code code(gridcentric::CallId call) const {
    REQUIRE_MESSAGE(replies.contains(call), "no reply yet");
    return replies.at(call).answer.code;
  }
  gridcentric::TicketStatus status(gridcentric::DomainKey who, const std::string &ticket) {
    return rules.ticket_info(who, ticket).ticket.status;
  }
};
