// The rules of tickets, CPUs, barriers and waits, one by one, numbered as in docs/protocol.md.
#include "tests/core/rules_player.hpp"

using namespace gridcentric;
using Status = TicketStatus;

TEST_CASE("a ticket gets the largest multiple that is free and at most maxcpus") {
  Player p(8);
  const auto me = p.master();
  const auto t = p.ticket(me, 7, 1, 3);
  const auto info = p.rules.ticket_info(me, t).ticket;
  CHECK(info.cpus == 6);
  CHECK(info.vms == 2);
  CHECK(info.mincpuspervm == 3);
  CHECK(info.status == Status::reserved);
  CHECK(p.rules.cpus_free() == 2);
  CHECK(p.rules.release_ticket(me, t, 0).ok());
  CHECK(p.rules.cpus_free() == 8);
  CHECK(p.rules.ticket_info(me, t).code == Code::NO_SUCH_TICKET);
}

TEST_CASE("rule 1: what can never be granted is refused at once") {
  Player p(8);
  const auto me = p.master();
  CHECK(p.code(p.request(me, 3, 2, 2)) == Code::INVALID_ARGUMENT);
  CHECK(p.code(p.request(me, 9, 9, 1)) == Code::INVALID_ARGUMENT);
  for (const std::int64_t bad :
       {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 31, INT64_MAX, INT64_MIN}) {
    p.rules.request_ticket(++p.last, me, bad, 1, 1, 0, 0);
    p.rules.request_ticket(++p.last, me, 1, bad, 1, 0, 0);
    p.rules.request_ticket(++p.last, me, 1, 1, bad, 0, 0);
    p.settle();
    for (int i = 0; i < 3; ++i) CHECK(p.code(p.last - static_cast<CallId>(i)) == Code::INVALID_ARGUMENT);
  }
  p.rules.request_ticket(++p.last, me, 1, 1, 1, std::int64_t{1} << 31, 0);
  p.settle();
  CHECK(p.code(p.last) == Code::INVALID_ARGUMENT);
  CHECK(p.rules.all_tickets().size() == 1);  // only the master's own is left
}

TEST_CASE("rule 2, 3: tickets belong to their requester; unknown and malformed tickets") {
  Player p;
  const auto mine = p.master(), other = p.master();
  const auto t = p.ticket(mine, 2);
  CHECK(p.code(p.clone(other, t)) == Code::NOT_YOUR_TICKET);
  CHECK(p.rules.release_ticket(other, t, 0).code == Code::NOT_YOUR_TICKET);
  CHECK(p.rules.ticket_info(other, t).code == Code::NOT_YOUR_TICKET);
  CHECK(p.code(p.wait(other, t)) == Code::NOT_YOUR_TICKET);
  CHECK(p.code(p.sync(other, t)) == Code::NOT_YOUR_TICKET);
  const auto call = p.clone(mine, t);
  const auto clone = p.clones.at(call)[0];
  CHECK(p.rules.ticket_info(clone, t).ok());
  CHECK(p.code(p.wait(clone, t)) == Code::NOT_YOUR_TICKET);
  CHECK(p.rules.release_ticket(clone, t, 0).code == Code::NOT_YOUR_TICKET);
  const std::string unknown = "00000000-0000-4000-8000-000000000000";
  CHECK(p.code(p.clone(mine, unknown)) == Code::NO_SUCH_TICKET);
  for (const std::string bad :
       {"", "x", "-", "00000000-0000-4000-8000-00000000000", "00000000-0000-4000-8000-00000000000G",
        "00000000-0000-4000-8000-00000000000A", "000000000000-4000-8000-00000000000000"})
    CHECK(p.code(p.clone(mine, bad)) == Code::INVALID_ARGUMENT);
}

TEST_CASE("rule 4: a ticket clones once, the master's own ticket never") {
  Player p;
  const auto me = p.master();
  const auto own = p.rules.domain(me)->ticket;
  CHECK(p.status(me, own) == Status::active);
  CHECK(p.code(p.clone(me, own)) == Code::TICKET_USED);
  const auto t = p.ticket(me, 2);
  CHECK(p.code(p.clone(me, t)) == Code::OK);
  CHECK(p.code(p.clone(me, t)) == Code::TICKET_USED);
  p.ticket(me, 6);
  p.request(me, 1, 1, 1);  // waits
  std::vector<TicketInfo> tickets;
  CHECK(p.rules.list_tickets(me, &tickets).ok());
  REQUIRE(tickets.size() == 4);
  CHECK(tickets[0].id == own);
  CHECK(tickets[3].status == Status::pending);
  CHECK(tickets[3].cpus == 0);
  CHECK(p.code(p.clone(me, tickets[3].id)) == Code::INVALID_ARGUMENT);
}

TEST_CASE("rule 4: a domain clones one ticket at a time") {
  Player p;
  p.drives = false;
  const auto me = p.master();
  const auto a = p.ticket(me, 1), b = p.ticket(me, 1);
  const auto first = p.clone(me, a), second = p.clone(me, b);
  CHECK(p.open(first));
  CHECK(p.code(second) == Code::CLONE_FAILED);
  CHECK(p.status(me, b) == Status::reserved);
  p.done(first);
  CHECK(p.code(first) == Code::OK);
  const auto third = p.clone(me, b);
  p.done(third);
  CHECK(p.code(third) == Code::OK);
}

TEST_CASE("rule 5: release of a pending, a used and a released ticket") {
  Player p(1);
  const auto me = p.master();
  const auto t = p.ticket(me, 1);
  const auto waiting = p.request(me, 1, 1, 1), behind = p.request(me, 1, 1, 1);
  std::vector<TicketInfo> tickets;
  CHECK(p.rules.list_tickets(me, &tickets).ok());
  CHECK(p.rules.release_ticket(me, tickets[2].id, 0).ok());
  p.settle();
  CHECK(p.code(waiting) == Code::NO_SUCH_TICKET);
  CHECK(p.open(behind));
  CHECK(p.rules.release_ticket(me, tickets[2].id, 0).code == Code::NO_SUCH_TICKET);
  CHECK(p.rules.release_ticket(me, t, 0).ok());
  p.settle();
  CHECK(p.code(behind) == Code::OK);
  const auto next = p.replies.at(behind).ticket;
  p.clone(me, next);
  CHECK(p.rules.release_ticket(me, next, 0).code == Code::TICKET_USED);
}

TEST_CASE("rule 6: sync and wait need clones") {
  Player p;
  const auto me = p.master();
  const auto t = p.ticket(me, 1);
  const auto own = p.rules.domain(me)->ticket;
  CHECK(p.code(p.sync(me, t)) == Code::INVALID_ARGUMENT);
  CHECK(p.code(p.wait(me, t)) == Code::INVALID_ARGUMENT);
  CHECK(p.code(p.sync(me, own)) == Code::INVALID_ARGUMENT);
  CHECK(p.code(p.wait(me, own)) == Code::INVALID_ARGUMENT);
  CHECK(p.code(p.sync(me, "-")) == Code::INVALID_ARGUMENT);
}

TEST_CASE("rule 7: the barrier passes when all have arrived, again and again") {
  Player p;
  const auto me = p.master();
  const auto t = p.ticket(me, 2);
  const auto clones = p.clones.at(p.clone(me, t));
  for (int round = 0; round < 3; ++round) {
    const auto a = p.sync(clones[0], "-"), b = p.sync(me, t);
    CHECK(p.open(a));
    CHECK(p.open(b));
    const auto c = p.sync(clones[1], t);
    for (const auto call : {a, b, c}) CHECK(p.code(call) == Code::OK);
  }
}

TEST_CASE("rule 7: a member that times out breaks it for those that wait, then it starts anew") {
  Player p;
  const auto me = p.master();
  const auto t = p.ticket(me, 2);
  const auto clones = p.clones.at(p.clone(me, t));
  const auto a = p.sync(clones[0], "-", 100), b = p.sync(clones[1], "-", 50);
  p.advance(49);
  CHECK(p.open(b));
  p.advance(50);
  CHECK(p.code(b) == Code::TIMED_OUT);
  CHECK(p.code(a) == Code::BARRIER_BROKEN);
  CHECK(!p.rules.next_deadline());
  const auto x = p.sync(clones[0], "-"), now = p.sync(clones[1], "-", 0);
  CHECK(p.code(now) == Code::TIMED_OUT);
  CHECK(p.code(x) == Code::BARRIER_BROKEN);
  p.sync(clones[0], "-");
  p.sync(clones[1], "-");
  CHECK(p.code(p.sync(me, t, 0)) == Code::OK);  // the last to arrive does not wait
}

TEST_CASE("rule 7: two calls at once are wrong, cancelling breaks nothing, an end breaks it for ever") {
  Player p;
  const auto me = p.master();
  const auto t = p.ticket(me, 2);
  const auto clones = p.clones.at(p.clone(me, t));
  const auto a = p.sync(clones[0], "-");
  CHECK(p.code(p.sync(clones[0], t)) == Code::INVALID_ARGUMENT);
  const auto b = p.sync(clones[1], "-");
  p.cancel(b);
  CHECK(p.open(a));
  CHECK(p.open(p.sync(me, t)));
  p.end(clones[1]);
  CHECK(p.code(a) == Code::BARRIER_BROKEN);
  CHECK(p.code(p.sync(me, t)) == Code::BARRIER_BROKEN);
  CHECK(p.code(p.sync(clones[0], "-")) == Code::BARRIER_BROKEN);
  p.end(clones[0]);
  CHECK(p.code(p.sync(me, t)) == Code::BARRIER_BROKEN);  // closed
}

TEST_CASE("rule 7: the owner is a member too") {
  Player p;
  const auto me = p.master(OnExit::keep);
  const auto t = p.ticket(me, 1);
  const auto clone = p.clones.at(p.clone(me, t))[0];
  const auto a = p.sync(clone, "-");
  p.end(me);
  CHECK(p.code(a) == Code::BARRIER_BROKEN);
}

TEST_CASE("rule 9, 10: wait says how all ended, and CPUs are free when the last has ended") {
  Player p;
  const auto me = p.master();
  const auto t = p.ticket(me, 4);
  const auto clones = p.clones.at(p.clone(me, t));
  const auto early = p.wait(me, t), once = p.wait(me, t, 0), timed = p.wait(me, t, 10);
  CHECK(p.code(once) == Code::TIMED_OUT);
  CHECK(p.rules.join(clones[3], "report").ok());
  p.end(clones[3], EndKind::exited, 9);
  p.end(clones[0], EndKind::exited, 3);
  p.end(clones[1], EndKind::killed, 15);
  p.advance(10);
  CHECK(p.code(timed) == Code::TIMED_OUT);
  CHECK(p.rules.cpus_free() == 4);
  p.end(clones[2], EndKind::lost, 5);
  CHECK(p.rules.cpus_free() == 8);
  CHECK(p.status(me, t) == Status::closed);
  for (const auto call : {early, p.wait(me, t), p.wait(me, t, 0)}) {
    const auto &results = p.replies.at(call).results;
    REQUIRE(results.size() == 4);
    CHECK((results[0].vmid == 1 && results[0].how == EndKind::exited && results[0].status == 3 &&
           !results[0].report));
    CHECK((results[1].how == EndKind::killed && results[1].status == 15));
    CHECK((results[2].how == EndKind::lost && results[2].status == 0));
    CHECK((results[3].how == EndKind::joined && results[3].status == 0 && *results[3].report == "report"));
  }
}

TEST_CASE("rule 9: beyond 1,000 closed tickets the one closed first is forgotten") {
  Player p;
  const auto me = p.master();
  std::vector<std::string> closed;
  p.checks = false;  // of all tickets, after each step
  for (std::size_t i = 0; i < Rules::max_closed + 2; ++i) {
    const auto t = p.ticket(me, 1);
    p.end(p.clones.at(p.clone(me, t))[0]);
    closed.push_back(t);
  }
  p.check_cpus();
  CHECK(p.rules.ticket_info(me, closed[0]).code == Code::NO_SUCH_TICKET);
  CHECK(p.rules.ticket_info(me, closed[1]).code == Code::NO_SUCH_TICKET);
  CHECK(p.rules.ticket_info(me, closed[2]).ok());
}

TEST_CASE("rule 11: no request overtakes another, and the head takes what is free") {
  Player p(4);
  const auto me = p.master(), other = p.master();
  const auto t = p.ticket(me, 3);
  const auto big = p.request(me, 8, 4, 1), small = p.request(other, 1, 1, 1);
  CHECK(p.open(big));
  CHECK(p.open(small));
  CHECK(p.code(p.request(other, 1, 1, 1, 0)) ==
        Code::TIMED_OUT);  // one CPU is free, but another request waits
  CHECK(p.rules.release_ticket(me, t, 0).ok());
  p.settle();
  CHECK(p.code(big) == Code::OK);
  CHECK(p.open(small));
  CHECK(p.rules.release_ticket(me, p.replies.at(big).ticket, 0).ok());
  p.settle();
  CHECK(p.code(small) == Code::OK);
}

TEST_CASE("rule 11: a request that leaves the line lets the next one through: by timeout, cancel, end") {
  for (const int how : {0, 1, 2}) {
    CAPTURE(how);
    Player p(2);
    const auto me = p.master(), other = p.master();
    p.ticket(me, 1);
    const auto head = p.request(other, 2, 2, 1, how == 0 ? 10 : -1), again = p.request(other, 1, 1, 1, 5'000);
    const auto next = p.request(me, 1, 1, 1);
    CHECK(p.open(next));
    if (how == 0) p.advance(10);
    if (how == 1) p.cancel(head);
    if (how == 2) {
      p.end(other);
      CHECK(p.dropped == std::vector<CallId>{head, again});
      CHECK(p.code(next) == Code::OK);  // not the second request of a domain that has ended
    } else {
      CHECK(p.code(again) == Code::OK);
      CHECK(p.open(next));
    }
  }
}

TEST_CASE("timeouts expire in the order of times, then of calls") {
  Player p(1);
  const auto me = p.master();
  p.ticket(me, 1);
  const auto a = p.request(me, 1, 1, 1, 20), b = p.request(me, 1, 1, 1, 10), c = p.request(me, 1, 1, 1, 20);
  CHECK(p.rules.next_deadline() == 10);
  p.order.clear();
  p.advance(1000);
  CHECK(p.order == std::vector<CallId>{b, a, c});
  CHECK(p.rules.queue_length() == 0);
}

TEST_CASE("rule 11: the driver is asked only about the head of the line, and is told about every end once") {
  Player p(8);
  p.grants = false;
  const auto me = p.master(), other = p.master();
  const auto first = p.request(me, 8, 2, 1), second = p.request(other, 1, 1, 1);
  REQUIRE(p.asked.size() == 1);
  CHECK(p.asked[0].call == first);
  CHECK(p.asked[0].least == 2);
  CHECK(p.asked[0].most == 8);
  p.reserved(first, Reservation::later("full"));
  CHECK(p.asked.size() == 1);
  p.room();
  REQUIRE(p.asked.size() == 2);
  p.reserved(first, Reservation::granted(99));  // the driver exceeds the offer; the ledger does not
  CHECK(p.code(first) == Code::OK);
  CHECK(p.rules.cpus_free() == 0);
  CHECK(p.open(second));
  CHECK(p.rules.release_ticket(me, p.replies.at(first).ticket, 0).ok());
  p.settle();
  CHECK(p.released.size() == 1);
  REQUIRE(p.asked.size() == 3);
  p.end(other, EndKind::lost);
  CHECK(p.released.size() == 2);
  p.reserved(second, Reservation::granted(1));
  CHECK(p.dropped == std::vector<CallId>{second});
  CHECK(p.rules.cpus_free() == 8);
}
