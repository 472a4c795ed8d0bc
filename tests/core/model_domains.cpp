// The rules of domains: join, kill, ends, families, failed clones. Numbered as in docs/protocol.md.
#include <random>

#include "tests/core/rules_player.hpp"

using namespace gridcentric;
using Status = TicketStatus;

TEST_CASE("rule 8: join") {
  Player p;
  const auto me = p.master();
  CHECK(p.rules.join(me, std::nullopt).code == Code::INVALID_ARGUMENT);
  const auto t = p.ticket(me, 1);
  const auto clone = p.clones.at(p.clone(me, t))[0];
  CHECK(p.rules.join(clone, std::string(Rules::max_report + 1, 'x')).code == Code::TOO_LARGE);
  CHECK(p.rules.join(clone, std::string(Rules::max_report, 'x')).ok());
  CHECK(p.rules.domain(clone)->state == DomainState::ending);
  CHECK(p.rules.join(clone, "again").code == Code::INVALID_ARGUMENT);
  CHECK(p.code(p.request(clone, 1, 1, 1)) == Code::INVALID_ARGUMENT);
  CHECK(p.code(p.sync(clone, "-")) == Code::INVALID_ARGUMENT);
  std::vector<DomainInfo> domains;
  CHECK(p.rules.list_domains(clone, &domains).code == Code::INVALID_ARGUMENT);
}

TEST_CASE("rule 12: kill") {
  Player p;
  const auto me = p.master();
  const auto clones = p.clones.at(p.clone(me, p.ticket(me, 2)));
  for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 31})
    CHECK(p.rules.kill(me, bad).code == Code::INVALID_ARGUMENT);
  CHECK(p.rules.kill(me, 3).code == Code::NO_SUCH_DOMAIN);
  CHECK(p.rules.kill(clones[0], 1).ok());  // itself
  p.settle();
  CHECK(p.ended == std::vector<DomainKey>{clones[0]});
  p.end(clones[0], EndKind::killed, 9);
  CHECK(p.rules.kill(me, 1).code == Code::NO_SUCH_DOMAIN);
}

TEST_CASE("rule 13: when a master vanishes its family ends; with bye or keep it goes on; end overrides bye") {
  struct {
    OnExit on_exit;
    bool bye, ends;
  } const cases[] = {{OnExit::by_bye, false, true}, {OnExit::by_bye, true, false},
                     {OnExit::keep, false, false},  {OnExit::keep, true, false},
                     {OnExit::end, false, true},    {OnExit::end, true, true}};
  for (const auto &c : cases) {
    Player p;
    const auto me = p.master(c.on_exit);
    const auto reserved = p.ticket(me, 2);
    const auto clones = p.clones.at(p.clone(me, p.ticket(me, 2)));
    p.rules.join(clones[1], std::nullopt);
    if (c.bye) p.rules.bye(me);
    p.rules.bye(clones[0]);  // says nothing
    p.end(me);
    CHECK(p.ended == (c.ends ? clones : std::vector<DomainKey>{}));
    CHECK(p.rules.ticket_info(clones[0], reserved).code == Code::NO_SUCH_TICKET);
    for (const auto clone : clones) p.end(clone, EndKind::killed, 9);
    CHECK(p.rules.family_count() == 0);
    CHECK(p.rules.all_tickets().empty());
    CHECK(p.rules.cpus_free() == 8);
  }
}

TEST_CASE("rule 13: the open calls of a domain that ends get no answer") {
  Player p(4);
  const auto me = p.master(OnExit::keep);
  const auto t = p.ticket(me, 2);
  p.clone(me, t);
  const auto a = p.wait(me, t), b = p.sync(me, t), c = p.request(me, 4, 4, 1, 100);
  p.end(me);
  CHECK(p.dropped == std::vector<CallId>{a, b, c});
  CHECK(!p.rules.next_deadline());
  CHECK(p.rules.queue_length() == 0);
  CHECK(p.rules.all_calls().empty());
}

TEST_CASE("rule 14: a failed clone gives the ticket back, but its vmids are used up") {
  Player p;
  p.drives = false;
  const auto me = p.master();
  const auto t = p.ticket(me, 2);
  const auto call = p.clone(me, t);
  const auto starting = p.clones.at(call);
  CHECK(p.rules.domain(starting[0])->state == DomainState::starting);
  CHECK(p.rules.kill(me, 1).code == Code::NO_SUCH_DOMAIN);
  CHECK(p.rules.find(p.rules.domain(me)->family, 1) == 0);
  p.end(starting[0]);  // ignored
  p.done(call, {Code::CLONE_FAILED, "no room"});
  CHECK(p.code(call) == Code::CLONE_FAILED);
  CHECK(p.replies.at(call).answer.text == "no room");
  CHECK(p.status(me, t) == Status::reserved);
  CHECK(p.rules.domain_count() == 1);
  const auto again = p.clone(me, t);
  p.done(again);
  CHECK(p.rules.domain(p.clones.at(again)[0])->vmid == 3);
}

TEST_CASE("rule 15: the clones are no longer wanted") {
  for (const bool made : {false, true})
    for (const bool ends : {false, true}) {
      CAPTURE(made);
      CAPTURE(ends);
      Player p;
      p.drives = false;
      const auto me = p.master();
      const auto t = p.ticket(me, 2);
      const auto call = p.clone(me, t);
      if (ends) {
        p.end(me);
      } else {
        p.cancel(call);
      }
      CHECK(p.cancelled == std::vector<CallId>{call});
      CHECK(p.rules.cpus_free() == 6);  // until they are gone
      p.done(call, made ? Answer{} : Answer{Code::CLONE_FAILED, "taken back"});
      if (made) {
        CHECK(p.ended == p.clones.at(call));
        for (const auto clone : p.clones.at(call)) p.end(clone, EndKind::killed, 9);
      }
      CHECK(p.open(call));
      CHECK(p.rules.cpus_free() == 8);
      CHECK(p.rules.family_count() == (ends ? 0u : 1u));
      if (!ends) CHECK(p.rules.ticket_info(me, t).code == Code::NO_SUCH_TICKET);
    }
}

TEST_CASE("a clone makes clones, which know their parent and outlive it") {
  Player p;
  const auto me = p.master();
  const auto child = p.clones.at(p.clone(me, p.ticket(me, 1)))[0];
  const auto t = p.ticket(child, 2);
  const auto grandchildren = p.clones.at(p.clone(child, t));
  CHECK(p.rules.domain(grandchildren[1])->vmid == 3);
  CHECK(p.rules.domain(grandchildren[1])->parent == 1);
  CHECK(p.rules.domain(grandchildren[1])->ticket == t);
  CHECK(p.code(p.sync(me, t)) == Code::NOT_YOUR_TICKET);
  p.end(child);
  CHECK(p.rules.domain_count() == 3);
  CHECK(p.status(me, t) == Status::active);
  p.end(grandchildren[0]);
  p.end(grandchildren[1]);
  CHECK(p.rules.ticket_info(me, t).code == Code::NO_SUCH_TICKET);  // its owner has ended
  CHECK(p.rules.cpus_free() == 8);
}

TEST_CASE("kill_domain: one, or the whole family") {
  Player p;
  const auto me = p.master(OnExit::keep);
  const auto clones = p.clones.at(p.clone(me, p.ticket(me, 2)));
  const auto family = p.rules.domain(me)->family;
  CHECK(p.rules.kill_domain("x", 0).code == Code::INVALID_ARGUMENT);
  CHECK(p.rules.kill_domain(family, -1).code == Code::INVALID_ARGUMENT);
  CHECK(p.rules.kill_domain(family, 9).code == Code::NO_SUCH_DOMAIN);
  CHECK(p.rules.kill_domain("00000000-0000-4000-8000-000000000000", 0).code == Code::NO_SUCH_DOMAIN);
  CHECK(p.rules.kill_domain(family, 2).ok());
  p.settle();
  CHECK(p.ended == std::vector<DomainKey>{clones[1]});
  CHECK(p.rules.kill_domain(family, 0).ok());
  p.settle();
  CHECK(p.ended.size() == 4);
}

TEST_CASE("clear forgets everything; keys and UUIDs continue") {
  Player p;
  const auto me = p.master();
  const auto family = p.rules.domain(me)->family;
  p.ticket(me, 3);
  p.rules.clear();
  CHECK(p.rules.cpus_free() == 8);
  CHECK(p.rules.domain_count() == 0);
  const auto next = p.master();
  CHECK(next != me);
  CHECK(p.rules.domain(next)->family != family);
}

TEST_CASE("in any history CPUs are conserved, each call ends once, and nothing is left") {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    Player p(6);
    p.drives = false;
    std::vector<std::string> tickets;
    const auto pick = [&](std::size_t n) { return n == 0 ? 0 : random() % n; };
    for (int step = 0; step < 400; ++step) {
      const auto domains = p.rules.all_domains();
      const DomainKey who = domains.empty() ? 0 : domains[pick(domains.size())].key;
      const std::string t = tickets.empty() ? "-" : tickets[pick(tickets.size())];
      const auto timeout = static_cast<std::int64_t>(random() % 40) - 10;
      switch (random() % 14) {
        case 0:
          if (p.rules.family_count() < 4) p.master(static_cast<OnExit>(random() % 3));
          break;
        case 1:
        case 2:
        case 3:
          p.request(who, 1 + static_cast<int>(random() % 6), 1 + static_cast<int>(random() % 2),
                    1 + static_cast<int>(random() % 3), timeout);
          break;
        case 4:
        case 5:
          p.clone(who, t);
          break;
        case 6:
          p.sync(who, random() % 2 ? t : "-", timeout);
          break;
        case 7:
          p.wait(who, t, timeout);
          break;
        case 8:
          p.rules.join(who, "r"), p.settle();
          break;
        case 9:
          p.end(who, static_cast<EndKind>(random() % 4), 1);
          break;
        case 10:
          p.rules.release_ticket(who, t, p.now), p.settle();
          break;
        case 11:
          p.cancel(p.last == 0 ? 0 : 1 + random() % p.last);
          break;
        case 12:
          p.advance(p.now + random() % 20);
          break;
        case 13:
          if (!p.started.empty()) {
            const auto call = p.started.front();
            p.started.erase(p.started.begin());
            p.done(call, random() % 3 ? Answer{} : Answer{Code::CLONE_FAILED, "no"});
          }
      }
      for (const auto &[family, ticket] : p.rules.all_tickets()) tickets.push_back(ticket.id);
      if (tickets.size() > 20) tickets.erase(tickets.begin(), tickets.end() - 20);
    }
    for (const auto call : p.started) p.done(call, {Code::CLONE_FAILED, "no"});
    for (const auto &domain : p.rules.all_domains()) p.end(domain.key, EndKind::lost);
    CHECK(p.rules.cpus_free() == 6);
    CHECK(p.rules.family_count() == 0);
    CHECK(p.rules.domain_count() == 0);
    CHECK(p.rules.queue_length() == 0);
    CHECK(p.rules.all_calls().empty());
    CHECK(!p.rules.next_deadline());
  }
}

using Expectations = std::vector<std::pair<DomainKey, int>>;

TEST_CASE("what a domain may ask for next: its reserved tickets") {
  Player p;
  p.drives = false;
  const auto me = p.master(), other = p.master();
  CHECK(p.expectations().empty());  // its own ticket is used
  const auto three = p.ticket(me, 3), two = p.ticket(me, 2);
  CHECK(p.expectations() == Expectations{{me, 5}});
  CHECK(p.expectations().empty());
  const auto waits = p.request(other, 4, 4, 1);
  CHECK(p.expectations().empty());  // a pending one does not count
  CHECK(p.rules.release_ticket(me, two, p.now).ok());
  p.settle();
  CHECK(p.code(waits) == Code::OK);  // served from what was released
  CHECK(p.expectations() == Expectations{{me, 3}, {other, 4}});

  const auto failing = p.clone(me, three);
  CHECK(p.expectations() == Expectations{{me, 0}});
  p.done(failing, {Code::CLONE_FAILED, "told to fail"});
  CHECK(p.expectations() == Expectations{{me, 3}});  // rule 14: unchanged
  const auto going = p.clone(me, three);
  p.done(going);
  CHECK(p.expectations() == Expectations{{me, 0}});
  p.end(other);
  CHECK(p.expectations() == Expectations{{other, 0}});
  p.end(me);
  CHECK(p.expectations().empty());  // it had none
}

TEST_CASE("what a domain may ask for next: nothing once its clone is unwanted") {
  Player p;
  p.drives = false;
  const auto me = p.master();
  const auto one = p.ticket(me, 1), two = p.ticket(me, 2);
  const auto call = p.clone(me, one);
  CHECK(p.expectations() == Expectations{{me, 2}});
  p.end(me);
  CHECK(p.expectations() == Expectations{{me, 0}});
  p.done(call, {Code::CLONE_FAILED, "its asker is gone"});
  CHECK(p.expectations().empty());
  CHECK(p.rules.cpus_free() == p.rules.cpus());
}
