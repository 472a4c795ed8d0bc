"""A hypervisor that counts: asked before a ticket is granted it may say no, not yet, or fewer; with the C++ rules in step."""

from __future__ import annotations

from typing import Any

import pytest
from world import CPUS, World


class Asked(World):
    """The test is the hypervisor. `reserve`: the requests it was asked about and has not answered; `released`: tickets."""

    def __init__(self) -> None:
        self.reserve: list[tuple[int, str, int, int, int]] = []  # call, ticket, least, most, cpus_per_vm
        self.released: list[str] = []
        super().__init__()
        self.rules.grant_at_once(False)

    def happened(self, kind: str, what: list[Any]) -> None:
        if kind == "reserve":
            self.reserve.append((what[0], *what[2:]))
        elif kind == "release":
            self.released.append(what[0])

    def request(self, maxcpus: int, minvms: int, per: int, timeout: int) -> int:
        return self.ask("request_ticket", "f1/0", maxcpus, minvms, per, timeout)

    def answer(self, kind: str, vms: int = 0) -> None:
        (asked,) = self.reserve
        self.reserve.clear()
        self.do("reserved", asked[0], kind, vms)

    def asked(self) -> list[int]:
        return [call for call, *_ in self.reserve]


@pytest.fixture
def world() -> Asked:
    return Asked()


def test_is_asked_for_what_there_are_cpus_for(world: Asked) -> None:
    call = world.request(7, 2, 3, -1)
    assert world.reserve == [(call, "t2", 2, 2, 3)]
    assert (world.code(call), world.status("t2"), world.free) == ("open", "pending", CPUS)
    world.answer("granted", 2)
    assert (world.code(call), world.status("t2"), world.free) == (None, "reserved", CPUS - 6)


def test_may_grant_fewer(world: Asked) -> None:
    call = world.request(8, 2, 1, -1)
    world.answer("granted", 3)
    assert world.do("ticket_info", "f1/0", "t2") == ("t2", "reserved", 3, 3, 1, 0)
    assert (world.code(call), world.free) == (None, CPUS - 3)


def test_a_refusal_lets_the_next_one_be_asked_for(world: Asked) -> None:
    never, next_one = world.request(8, 8, 1, -1), world.request(1, 1, 1, -1)
    assert world.asked() == [never]
    world.answer("refused")
    assert (world.code(never), world.asked()) == ("not_supported", [next_one])
    assert world.released == []
    world.answer("granted", 1)
    assert world.code(next_one) is None


def test_nobody_overtakes_one_that_must_wait(world: Asked) -> None:  # rule 11
    head, behind = world.request(4, 4, 1, -1), world.request(1, 1, 1, -1)
    world.answer("later")
    assert (world.code(head), world.code(behind), world.asked()) == ("open", "open", [])
    assert world.code(world.request(1, 1, 1, 0)) == "timed_out"
    world.do("ask_again")
    assert world.asked() == [head]
    world.answer("granted", 4)
    assert (world.code(head), world.asked()) == (None, [behind])


def test_is_asked_again_when_a_ticket_is_released(world: Asked) -> None:
    world.request(2, 2, 1, -1)
    world.answer("granted", 2)
    head = world.request(3, 3, 1, -1)
    world.answer("later")
    world.do("release_ticket", "f1/0", "t2")
    assert (world.released, world.asked()) == (["t2"], [head])


def test_what_becomes_free_while_it_thinks_is_not_missed(world: Asked) -> None:
    head = world.request(2, 2, 1, -1)
    world.do("ask_again")
    assert world.asked() == [head], "one question at a time"
    world.answer("later")
    assert world.asked() == [head], "asked again at once"
    world.answer("later")
    assert (world.code(head), world.asked()) == ("open", [])


def test_a_request_that_tries_once_is_answered_by_the_hypervisor(world: Asked) -> None:
    granted, refused = world.request(1, 1, 1, 0), None
    assert world.code(granted) == "open"
    world.answer("granted", 1)
    assert world.code(granted) is None
    refused = world.request(1, 1, 1, 0)
    world.answer("later")
    assert (world.code(refused), world.rules.look().line) == ("timed_out", 0)
    assert world.released == ["t3"]


LEAVES = ("cancel", "release", "timeout", "end")


def leave(world: Asked, call: int, how: str) -> None:
    """The request of ticket t2, with a time of 10 ms, leaves the line."""
    if how == "cancel":
        world.do("cancel", call)
    elif how == "release":
        world.do("release_ticket", "f1/0", "t2")
    elif how == "timeout":
        world.advance(10)
    else:
        world.do("ended", "f1/0", "exited", 0)


@pytest.mark.parametrize("leaves", LEAVES)
def test_an_answer_that_comes_too_late(world: Asked, leaves: str) -> None:
    leave(world, world.request(2, 2, 1, 10), leaves)
    assert world.released == ["t2"]
    world.answer("granted", 2)
    assert (world.status("t2"), world.free, world.released) == (None, CPUS, ["t2"])


@pytest.mark.parametrize("leaves", LEAVES)
@pytest.mark.parametrize("meanwhile", ["nothing", "ask_again"])
def test_is_told_when_one_that_must_wait_leaves(world: Asked, leaves: str, meanwhile: str) -> None:
    """The hypervisor may be making room for it."""
    head = world.request(2, 2, 1, 10)
    behind = world.ask("request_ticket", world.do("adopt", ""), 1, 1, 1, -1)
    world.answer("later")
    if meanwhile == "ask_again":
        world.do("ask_again")
        assert world.asked() == [head]
        world.reserve.clear()
    leave(world, head, leaves)
    assert (world.released, world.asked()) == (["t2"], [behind])
    world.answer("granted", 1)
    assert (world.code(behind), world.released, world.free) == (None, ["t2"], CPUS - 1)


def test_one_that_is_refused_after_all_is_not_released(world: Asked) -> None:
    world.request(2, 2, 1, -1)
    world.answer("later")
    world.do("ask_again")
    world.answer("refused")
    assert (world.status("t2"), world.released) == (None, [])


def test_room_is_kept_until_the_last_clone_has_ended(world: Asked) -> None:
    world.request(2, 2, 1, -1)
    world.answer("granted", 2)
    cloning = world.ask("clone", "f1/0", "t2")
    world.do("clone_failed", cloning, "clone_failed")
    assert world.released == []
    world.do("cloned", world.ask("clone", "f1/0", "t2"))
    world.end("f1/3")
    assert world.released == []
    world.end("f1/4")
    assert (world.released, world.free) == (["t2"], CPUS)


def test_room_is_given_back_once_what_nobody_wants_is_gone(world: Asked) -> None:  # rule 15
    world.request(2, 2, 1, -1)
    world.answer("granted", 2)
    cloning = world.ask("clone", "f1/0", "t2")
    world.do("cancel", cloning)
    assert world.released == []
    world.do("clone_failed", cloning, "clone_failed")
    assert world.released == ["t2"]
