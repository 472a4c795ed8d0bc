"""The driver contract (core/include/gridcentric/hypervisor.hpp), for every driver, seen from outside over the protocol.

What a driver must do is the same for all; how its domains are told what to do is in drivers.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Union

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import DRIVERS, Domain, Fake, Process, Vm
from runner.hosts import CPUS
from runner.unbuilt import Missing, without
from runner.wire import Connection, Refused

Driver = Union[Fake, Process, Vm]


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.vms if issubclass(DRIVERS[name], Vm) else ()) for name in DRIVERS])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    try:
        made = DRIVERS[request.param]()
    except Missing as reason:
        without(reason)
    yield made
    made.stop()  # checks that the host ends well and leaves nothing


def cloned(master: Domain, vms: int) -> tuple[str, list[Domain]]:
    (ticket,) = master.do("request", vms)
    return ticket, master.clone(ticket, vms)


def vmids(domain: Domain) -> list[int]:
    return [int(row.split(",")[0]) for row in domain.do("domains")]


def observed(driver: Driver, verb: str) -> list[list[str]]:
    with Connection(driver.host.socket, "observe") as observer:
        return observer.call(verb)[0]


def all_is_free_again(driver: Driver) -> None:
    """Waits for the event: a newcomer gets all CPUs as soon as the last domain has gone."""
    newcomer = driver.master()
    newcomer.do("request", CPUS)
    families = {row[0] for row in observed(driver, "list_all")}
    assert len(families) == 1, "only the newcomer's family is left"


def test_says_what_it_can(driver: Driver) -> None:
    info = dict(observed(driver, "info"))
    assert info["hypervisor"] == driver.name
    assert info["supports"]
    assert int(info["cpus"]) == CPUS


def test_adopts_programs_as_masters(driver: Driver) -> None:
    first, second = driver.master(), driver.master()
    assert first.vmid == second.vmid == 0
    assert first.do("domains") == [f"0,-1,{first.ip}"]
    assert second.do("domains") == [f"0,-1,{second.ip}"]
    assert {row[1] for row in observed(driver, "list_all")} == {"0"}


def test_makes_as_many_clones_as_asked(driver: Driver) -> None:
    master = driver.master()
    _, clones = cloned(master, 5)
    assert [clone.vmid for clone in clones] == [1, 2, 3, 4, 5]
    assert vmids(master) == [0, 1, 2, 3, 4, 5]
    assert clones[4].do("domains") == master.do("domains")


def test_clones_inherit_memory(driver: Driver) -> None:
    if not driver.real:
        return  # a fake domain has no memory; its clones are told apart by vmid only
    master = driver.master()
    master.do("remember", "before")
    _, (one, two) = cloned(master, 2)
    master.do("remember", "after")
    one.do("remember", "mine")
    assert (master.do("recall"), one.do("recall"), two.do("recall")) == (["after"], ["mine"], ["before"])


def test_every_domain_has_an_address_of_its_own(driver: Driver) -> None:
    master = driver.master()
    _, clones = cloned(master, 4)
    family = [master, *clones]
    assert len({domain.ip for domain in family}) == 5
    assert master.do("domains") == [f"{d.vmid},{-1 if d.vmid == 0 else 0},{d.ip}" for d in family]


def test_an_address_is_not_given_to_two_living_domains(driver: Driver) -> None:
    master = driver.master()
    _, (gone, stays) = cloned(master, 2)
    gone.end("exit", 0)
    _, later = cloned(master, 3)
    assert stays.ip not in {domain.ip for domain in later}


def test_clones_clone(driver: Driver) -> None:
    master = driver.master()
    _, (one, two) = cloned(master, 2)
    ticket, (three,) = cloned(two, 1)
    assert three.vmid == 3
    assert three.do("domains")[3].split(",")[1] == "2"
    three.end("join", "grandchild")
    assert two.do("wait", ticket) == ["3,joined,0,grandchild"]
    assert vmids(one) == [0, 1, 2]


def test_all_or_none(driver: Driver) -> None:
    """A cloning that fails says why, leaves no clone and gives the ticket back; it works once the reason is gone."""
    master = driver.master()
    (ticket,) = master.do("request", 3)
    master.do("obstruct")
    with pytest.raises(Refused) as refused:
        master.clone(ticket, 3)
    assert refused.value.code in ("clone_failed", "not_supported")
    assert refused.value.text
    assert vmids(master) == [0]
    master.do("clear")
    clones = master.clone(ticket, 3)
    assert [clone.vmid for clone in clones] == [4, 5, 6]


def test_what_is_prepared_for_a_ticket_goes_with_it(driver: Driver) -> None:
    """A driver may prepare for tickets (expect): given up, used or left behind, nothing of it remains."""
    master = driver.master()
    cloned(master, 1)[1][0].end("join", "first")
    open_at_first = driver.host.descriptors()
    for _ in range(3):
        (ticket,) = master.do("request", 4)
        master.do("release", ticket)
    ticket, clones = cloned(master, 2)
    for clone in clones:
        clone.end("join", "done")
    assert len(master.do("wait", ticket)) == 2
    assert len(driver.host.descriptors()) <= len(open_at_first)
    master.do("request", 4)
    master.vanish()
    driver.let_time_pass()
    all_is_free_again(driver)


def test_notices_how_a_clone_ends(driver: Driver) -> None:
    master = driver.master()
    ticket, clones = cloned(master, 5)
    clones[0].end("exit", 0)
    clones[1].end("exit", 7)
    clones[2].end("signal", 15)
    clones[3].end("join", "done")
    clones[4].end("signal", 9)
    assert master.do("wait", ticket) == ["1,exited,0,-", "2,exited,7,-", "3,killed,15,-", "4,joined,0,done", "5,killed,9,-"]
    assert vmids(master) == [0]


def test_ends_a_clone(driver: Driver) -> None:
    master = driver.master()
    first, (one,) = cloned(master, 1)
    second, (two,) = cloned(master, 1)
    two.do("kill", 1)
    one.wait_gone()
    assert master.do("wait", first) == ["1,killed,9,-"]
    assert vmids(two) == [0, 2]
    master.do("kill", 2)
    two.wait_gone()
    assert master.do("wait", second) == ["2,killed,9,-"]


def test_ends_the_family_of_a_vanished_master(driver: Driver) -> None:
    master = driver.master()
    _, (one, two) = cloned(master, 2)
    _, (three,) = cloned(one, 1)
    master.vanish()
    for clone in (one, two, three):
        clone.wait_gone()
    all_is_free_again(driver)


def test_clones_end_with_their_host(driver: Driver) -> None:
    if not driver.mortal:
        return
    _, clones = cloned(driver.master(), 3)
    driver.host.kill()
    for clone in clones:
        clone.wait_gone()


def test_families_are_apart(driver: Driver) -> None:
    first, second = driver.master(), driver.master()
    _, (one,) = cloned(first, 1)
    ticket, (other,) = cloned(second, 1)
    first.vanish()
    one.wait_gone()
    other.end("join", "unharmed")
    assert second.do("wait", ticket) == ["1,joined,0,unharmed"]


def test_an_observer_ends_a_family(driver: Driver) -> None:
    master = driver.master()
    _, (one, two) = cloned(master, 2)
    with Connection(driver.host.socket, "observe") as observer:
        (family,) = {row[0] for row in observer.call("list_all")[0]}
        observer.call("kill_domain", family, 0)
    for domain in (one, two, master):
        domain.wait_gone()
    all_is_free_again(driver)


@pytest.mark.parametrize("vms", [1, 8])
def test_a_cloning_whose_asker_dies_leaves_nothing(driver: Driver, vms: int) -> None:
    """Whether the clones were there already or not: the master vanishes, and all that it had goes."""
    master = driver.master()
    (ticket,) = master.do("request", vms)
    master.begin_clone(ticket)
    master.vanish()
    driver.let_time_pass()
    all_is_free_again(driver)


def test_again_and_again(driver: Driver) -> None:
    """Clones made and ended in many rounds: nothing piles up in the host."""
    master = driver.master()
    cloned(master, 1)[1][0].end("join", "first")
    open_at_first = driver.host.descriptors()
    for number in range(10):
        ticket, clones = cloned(master, 4)
        for clone in clones:
            clone.end("join", str(number))
        assert len(master.do("wait", ticket)) == 4
    assert len(driver.host.descriptors()) <= len(open_at_first)
