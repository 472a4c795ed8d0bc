"""The rules one by one, as docs/protocol.md numbers them ("What the calls mean"); with the C++ rules in step where built."""

from __future__ import annotations

import pytest
from world import CPUS, UNKNOWN, World

from gridcentric.reference.registry import MAX_CLOSED


@pytest.fixture
def world() -> World:
    return World()


def test_born_with_a_ticket(world: World) -> None:  # rule 4
    assert world.do("list_tickets", "f1/0") == (("t1", "active", 1, 1, 1, 0),)
    assert world.free == CPUS
    assert world.code(world.ask("clone", "f1/0", "t1")) == "ticket_used"
    assert world.do("release_ticket", "f1/0", "t1") == "ticket_used"
    assert world.code(world.ask("wait", "f1/0", "t1", 0)) == "invalid_argument"


@pytest.mark.parametrize(
    ("request_", "granted"),
    [((5, 1, 2), 4), ((8, 8, 1), 8), ((100, 1, 3), 6), ((3, 1, 3), 3), ((2**31 - 1, 1, 1), 8)],
)
def test_grants_the_largest_multiple(world: World, request_: tuple[int, ...], granted: int) -> None:
    ticket = world.answers[world.ask("request_ticket", "f1/0", *request_, 0)][1]
    assert world.do("ticket_info", "f1/0", ticket)[2:4] == (granted, granted // request_[2])
    assert world.free == CPUS - granted


@pytest.mark.parametrize("bad", [(0, 1, 1, 0), (1, 0, 1, 0), (1, 1, 0, 0), (2**31, 1, 1, 0), (1, 1, 1, 2**31), (-1, 1, 1, 0)])
def test_ranges(world: World, bad: tuple[int, ...]) -> None:
    assert world.code(world.ask("request_ticket", "f1/0", *bad)) == "invalid_argument"


@pytest.mark.parametrize("never", [(3, 2, 2), (100, 9, 1), (2**31 - 1, 2**31 - 1, 2**31 - 1)])
def test_what_can_never_be_granted(world: World, never: tuple[int, ...]) -> None:  # rule 1
    assert world.code(world.ask("request_ticket", "f1/0", *never, -1)) == "invalid_argument"
    assert world.rules.look().line == 0


def test_line_is_strict(world: World) -> None:  # rule 11
    big = world.ticket("f1/0", 6)
    head = world.ask("request_ticket", "f1/0", 8, 4, 1, -1)
    assert world.code(world.ask("request_ticket", "f1/0", 1, 1, 1, 0)) == "timed_out"
    behind = world.ask("request_ticket", "f1/0", 1, 1, 1, -1)
    assert (world.code(head), world.code(behind)) == ("open", "open")
    world.do("release_ticket", "f1/0", big)
    assert (world.code(head), world.code(behind)) == (None, "open")
    assert world.free == 0


@pytest.mark.parametrize("leaves", ["cancel", "timeout", "release"])
def test_head_leaves_the_line(world: World, leaves: str) -> None:
    world.ticket("f1/0", 7)
    head = world.ask("request_ticket", "f1/0", 2, 2, 1, 10 if leaves == "timeout" else -1)
    behind = world.ask("request_ticket", "f1/0", 1, 1, 1, -1)
    if leaves == "cancel":
        world.do("cancel", head)
    elif leaves == "timeout":
        world.advance(9)
        assert world.code(head) == "open"
        world.advance(1)
    else:
        world.do("release_ticket", "f1/0", "t3")
    assert world.code(head) == {"cancel": "open", "timeout": "timed_out", "release": "no_such_ticket"}[leaves]
    assert world.code(behind) is None
    assert len(world.rules.look().tickets) == 3


def test_whose_ticket(world: World) -> None:  # rules 2 and 3
    ticket = world.clones("f1/0", 1)
    other = world.do("adopt", "")
    assert world.do("ticket_info", "f1/1", ticket)[1] == "active"
    assert world.do("ticket_info", other, ticket) == "not_your_ticket"
    for domain in ("f1/1", other):
        assert world.do("release_ticket", domain, ticket) == "not_your_ticket"
        assert world.code(world.ask("clone", domain, ticket)) == "not_your_ticket"
        assert world.code(world.ask("wait", domain, ticket, 0)) == "not_your_ticket"
    assert world.code(world.ask("sync", other, ticket, 0)) == "not_your_ticket"
    assert world.do("ticket_info", "f1/0", UNKNOWN) == "no_such_ticket"
    assert world.do("ticket_info", "f1/0", UNKNOWN.upper()) == "invalid_argument"


def test_a_ticket_is_handed_over(world: World) -> None:  # rule 16
    world.clones("f1/0", 2)
    ticket, other = world.ticket("f1/0", 2), world.do("adopt", "")
    assert world.do("hand_over", "f1/1", ticket, 1) == "not_your_ticket"
    assert world.do("hand_over", other, ticket, 0) == "not_your_ticket"
    assert world.do("hand_over", "f1/0", ticket, 3) == "no_such_domain"
    assert world.do("hand_over", "f1/0", ticket, -1) == "invalid_argument"
    assert world.do("hand_over", "f1/0", ticket, 0) is None  # to itself: nothing changes
    assert world.do("hand_over", "f1/0", ticket, 2) is None
    assert world.code(world.ask("clone", "f1/0", ticket)) == "not_your_ticket"
    assert world.do("hand_over", "f1/2", ticket, 1) is None
    world.do("cloned", world.ask("clone", "f1/1", ticket))
    assert world.do("hand_over", "f1/1", ticket, 0) == "ticket_used"
    assert [domain[1] for domain in world.do("list_domains", "f1/0")] == [None, 0, 0, 1, 1]
    assert world.code(world.ask("wait", "f1/0", ticket, 0)) == "not_your_ticket"
    unused = world.ticket("f1/0", 1)
    free = world.free
    assert world.do("hand_over", "f1/0", unused, 2) is None
    world.do("ended", "f1/2", "killed", 9)  # a domain's reserved tickets go with it, from whomever it has them
    assert world.free == free + 1


def test_life_of_a_ticket(world: World) -> None:  # rules 4, 5, 9, 10
    ticket = world.ticket("f1/0", 2)
    assert world.code(world.ask("wait", "f1/0", ticket, -1)) == "invalid_argument"
    call = world.ask("clone", "f1/0", ticket)
    assert (world.status(ticket), world.code(call)) == ("cloning", "open")
    assert [d[3] for d in world.do("list_domains", "f1/0")] == ["running", "starting", "starting"]
    assert world.do("kill", "f1/0", 1) == "no_such_domain"
    assert world.code(world.ask("clone", "f1/0", ticket)) == "ticket_used"
    world.do("cloned", call)
    waiting = world.ask("wait", "f1/0", ticket, -1)
    world.do("join", "f1/2", b"\0two")
    world.do("ended", "f1/2", "killed", 9)
    assert (world.code(waiting), world.free) == ("open", CPUS - 2)
    world.do("ended", "f1/1", "exited", 3)
    results = ((1, "exited", 3, None), (2, "joined", 0, b"\0two"))
    assert world.answers[waiting] == (None, "", results)
    assert world.answers[world.ask("wait", "f1/0", ticket, 0)] == (None, "", results)
    assert (world.status(ticket), world.free) == ("closed", CPUS)
    assert world.do("release_ticket", "f1/0", ticket) == "ticket_used"


def test_one_cloning_at_a_time(world: World) -> None:  # rule 4
    first, second = world.ticket("f1/0", 1), world.ticket("f1/0", 1)
    call = world.ask("clone", "f1/0", first)
    assert world.code(world.ask("clone", "f1/0", second)) == "clone_failed"
    world.do("cloned", call)
    assert world.code(world.ask("clone", "f1/0", second)) == "open"


def test_failed_cloning(world: World) -> None:  # rule 14
    ticket = world.ticket("f1/0", 2)
    call = world.ask("clone", "f1/0", ticket)
    world.do("clone_failed", call, "not_supported")
    assert (world.code(call), world.status(ticket)) == ("not_supported", "reserved")
    assert len(world.do("list_domains", "f1/0")) == 1
    call = world.ask("clone", "f1/0", ticket)
    world.do("cloned", call)
    assert [d[0] for d in world.do("list_domains", "f1/0")] == ["f1/0", "f1/3", "f1/4"]


@pytest.mark.parametrize("done", ["cloned", "clone_failed"])
def test_cloning_taken_back(world: World, done: str) -> None:  # rule 15
    ticket = world.ticket("f1/0", 2)
    call = world.ask("clone", "f1/0", ticket)
    world.do("cancel", call)
    assert (world.status(ticket), world.free) == ("cloning", CPUS - 2)
    world.do(done, call, *(["clone_failed"] if done == "clone_failed" else []))
    world.end(*world.ending)
    assert (world.status(ticket), world.free, world.code(call)) == (None, CPUS, "open")


def test_barrier_passes_again_and_again(world: World) -> None:  # rule 7
    ticket = world.clones("f1/0", 2)
    for _ in range(3):
        waiting = [world.ask("sync", "f1/1", "-", -1), world.ask("sync", "f1/0", ticket, 50)]
        assert [world.code(call) for call in waiting] == ["open", "open"]
        last = world.ask("sync", "f1/2", ticket, 0)
        assert [world.code(call) for call in [*waiting, last]] == [None, None, None]


def test_barrier_breaks_and_starts_anew(world: World) -> None:  # rule 7
    ticket = world.clones("f1/0", 2)
    first, second = world.ask("sync", "f1/1", "-", 10), world.ask("sync", "f1/2", "-", 10)
    assert world.code(world.ask("sync", "f1/1", "-", 10)) == "invalid_argument"
    world.advance(10)
    assert (world.code(first), world.code(second)) == ("timed_out", "barrier_broken")
    waiting = world.ask("sync", "f1/1", "-", -1)
    assert world.code(world.ask("sync", "f1/0", ticket, 0)) == "timed_out"
    assert world.code(waiting) == "barrier_broken"
    withdrawn = world.ask("sync", "f1/1", "-", -1)
    waiting = world.ask("sync", "f1/2", "-", -1)
    world.do("cancel", withdrawn)
    world.ask("sync", "f1/0", ticket, -1)
    assert (world.code(withdrawn), world.code(waiting)) == ("open", "open")
    assert world.code(world.ask("sync", "f1/1", "-", 0)) is None


@pytest.mark.parametrize("who", ["f1/0", "f1/2"])
def test_barrier_broken_for_ever(world: World, who: str) -> None:  # rule 7
    ticket = world.clones("f1/0", 3)
    world.do("bye", "f1/0")
    waiting, of_the_dead = world.ask("sync", "f1/1", "-", -1), world.ask("sync", who, ticket, -1)
    world.end(who)
    assert (world.code(waiting), world.code(of_the_dead)) == ("barrier_broken", "open")
    assert world.code(world.ask("sync", "f1/1", "-", -1)) == "barrier_broken"


def test_sync_of_a_master(world: World) -> None:  # rule 6
    assert world.code(world.ask("sync", "f1/0", "-", -1)) == "invalid_argument"
    assert world.code(world.ask("sync", "f1/0", "t1", -1)) == "invalid_argument"
    assert world.code(world.ask("sync", "f1/0", world.ticket("f1/0", 1), -1)) == "invalid_argument"


def test_join(world: World) -> None:  # rule 8
    world.clones("f1/0", 1)
    assert world.do("join", "f1/0", None) == "invalid_argument"
    assert world.do("join", "f1/1", b"x" * (1 << 20) + b"x") == "too_large"
    assert world.do("join", "f1/1", b"x" * (1 << 20)) is None
    assert world.do("list_tickets", "f1/1") == "invalid_argument"
    assert world.do("list_domains", "f1/0")[1][3] == "ending"
    world.do("ended", "f1/1", "exited", 1)
    call = world.ask("wait", "f1/0", "t2", 0)
    assert world.answers[call][2] == ((1, "joined", 0, b"x" * (1 << 20)),)


def test_forget_a_ticket(world: World) -> None:  # rule 9
    ticket = world.clones("f1/0", 2)
    assert world.do("forget_ticket", "f1/0", ticket) == "invalid_argument"
    world.end("f1/1", "f1/2")
    other = world.clones("f1/0", 1)
    assert world.do("forget_ticket", "f1/3", ticket) == "not_your_ticket"
    assert world.do("forget_ticket", "f1/0", ticket) is None
    assert (world.status(ticket), world.status(other)) == (None, "active")
    assert world.do("forget_ticket", "f1/0", ticket) == "no_such_ticket"
    assert world.do("forget_ticket", "f1/0", "t1") == "invalid_argument"  # the master's own


def test_reports_of_a_family_are_bounded() -> None:  # rule 9
    """Two of three reports fit. Those of closed tickets make room, the first to close first; those of others do not."""
    world = World(most_reports=200)
    tickets = [world.clones("f1/0", 1) for _ in range(2)]
    for vmid in (1, 2):
        assert world.do("join", f"f1/{vmid}", b"x" * 90) is None
    world.end("f1/2")
    third = world.clones("f1/0", 2)
    assert world.do("join", "f1/3", b"x" * 111) == "too_large"
    assert world.status(tickets[1]) == "closed", "nothing is given up for a report that has no room all the same"
    assert world.do("join", "f1/3", b"x" * 110) is None
    assert world.status(tickets[1]) is None
    world.end("f1/1")
    assert world.do("forget_ticket", "f1/0", tickets[0]) is None
    assert world.do("join", "f1/4", b"x" * 90) is None
    world.end("f1/3", "f1/4")
    call = world.ask("wait", "f1/0", third, 0)
    assert [len(result[3]) for result in world.answers[call][2]] == [110, 90]


def test_reports_that_nobody_can_read_take_no_room() -> None:
    world = World(most_reports=100)
    world.clones("f1/0", 1)
    world.clones("f1/1", 2)
    assert world.do("join", "f1/2", b"x" * 90) is None
    world.end("f1/1")  # the one who could read it
    assert world.do("join", "f1/3", b"x" * 90) is None
    world.clones("f1/0", 1)
    assert world.do("join", "f1/4", b"x" * 90) is None


def test_closed_tickets_are_bounded(world: World) -> None:  # rule 9
    world.rules.look_after_each_step(False)
    for vmid in range(1, MAX_CLOSED + 2):
        world.clones("f1/0", 1)
        world.end(f"f1/{vmid}")
    world.rules.look_after_each_step(True)
    assert world.status("t2") is None
    assert world.code(world.ask("wait", "f1/0", "t2", 0)) == "no_such_ticket"
    assert (world.status("t3"), len(world.rules.look().tickets)) == ("closed", MAX_CLOSED + 1)


def test_kill(world: World) -> None:  # rule 12
    world.clones("f1/0", 2)
    assert world.do("kill", "f1/1", 0) == "invalid_argument"
    assert world.do("kill", "f1/1", 1) is None
    assert world.do("kill", "f1/1", 3) == "no_such_domain"
    assert world.ending == ["f1/1"]
    world.do("ended", "f1/1", "killed", 9)
    assert world.do("kill", "f1/0", 1) == "no_such_domain"


@pytest.mark.parametrize(
    ("on_exit", "bye", "outlived"),
    [("", False, False), ("", True, True), ("end", True, False), ("keep", False, True), ("keep", True, True)],
)
def test_end_of_a_master(on_exit: str, bye: bool, outlived: bool) -> None:  # rule 13
    world = World()
    master = world.do("adopt", on_exit)
    ticket = world.clones(master, 2)
    reserved = world.ticket(master, 1)
    if bye:
        world.do("bye", master)
    world.end(master)
    assert world.ending == ([] if outlived else ["f2/1", "f2/2"])
    assert (world.status(ticket), world.status(reserved)) == ("active", None)
    world.end("f2/1", "f2/2")
    state = world.rules.look()
    assert (state.families, state.free, world.status(ticket)) == (1, CPUS, None)


def test_family_that_is_over_ends_late_clones(world: World) -> None:  # rule 13
    world.clones("f1/0", 1)
    call = world.ask("clone", "f1/1", world.ticket("f1/1", 1))
    world.end("f1/0")
    world.do("cloned", call)
    assert world.ending == ["f1/1", "f1/2"]


def test_an_end_frees_all_at_once(world: World) -> None:  # rule 13
    other = world.do("adopt", "")
    world.ticket("f1/0", 4)
    world.ticket("f1/0", 4)
    call = world.ask("request_ticket", other, 8, 1, 1, -1)
    world.end("f1/0")
    assert world.code(call) is None
    assert world.free == 0


def test_clone_of_a_clone(world: World) -> None:
    world.clones("f1/0", 1)
    ticket = world.clones("f1/1", 1)
    assert [d[:3] for d in world.do("list_domains", "f1/2")] == [
        ("f1/0", None, "t1"),
        ("f1/1", 0, "t2"),
        ("f1/2", 1, ticket),
    ]
    world.end("f1/1")
    assert [d[0] for d in world.do("list_domains", "f1/0")] == ["f1/0", "f1/2"]
    assert world.status("t2") == "closed"
