"""The warm pool: machines that are started when a ticket is given and wait for its clone(), by the method that loads states."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from vms import Family, Program, Vms, fail_at, held, what_is_missing

from gridcentric.hypervisors.qemu import pool, ram
from gridcentric.hypervisors.qemu.machine import MachineError
from gridcentric.hypervisors.qemu.machine_domain import MachineDomain
from gridcentric.hypervisors.qemu.started_programs import BINARY

LIMIT = 4
# Takes a ticket of $1 and does with it what it is told. Clones wait for their end.
HOLD = """ticket=$(gc rt $1 $1 1 10000); echo held; read what
if [ $what = release ]; then gc release $ticket; echo released; read bye
else gc clone $ticket >/dev/null || { read again; gc clone $ticket >/dev/null; }; fi
if gc ismaster; then gc wait $ticket; else echo "clone $(gc vmid)"; exec sleep 100000; fi"""
# A clone of it takes one of 2, is told to go on, and clones.
HOLD_IN_A_CLONE = """first=$(gc rt 1 1 1 10000); gc clone $first >/dev/null
if gc ismaster; then gc wait $first; exit; fi
ticket=$(gc rt 2 2 1 10000); echo held; read go; gc clone $ticket >/dev/null
echo "clone $(gc vmid)"; exec sleep 100000"""


@pytest.fixture(scope="module")
def machines() -> Iterator[Vms]:
    if reason := what_is_missing():
        pytest.skip(reason)
    before = held_here()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRIDCENTRIC_MACHINE_CLONE", "load")
        patch.setenv("GRIDCENTRIC_POOL", str(LIMIT))
        made = Vms()
        yield made
        made.close()
    assert held_here() == before


@pytest.fixture(scope="module")
def _booted(machines: Vms) -> Family:
    return machines.boot(memory_mib=128)


@pytest.fixture
def family(_booted: Family) -> Iterator[Family]:
    """The machine of all these tests; each leaves all as it was."""
    before = held_here()
    yield _booted
    for domain in _booted.clones():
        _booted.end(domain)
    _booted.until(lambda: not _booted.clones())
    assert held_here() == before


def qemus() -> set[int]:
    """The living QEMUs that this process has started."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z" and int(parent) == os.getpid() and BINARY.encode() in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue  # it has just ended
    return found


def held_here() -> tuple[set[int], list[str]]:
    """QEMUs, and RAM, states and network cards that this process holds."""
    return qemus(), held("memfd:gridcentric", "/dev/net/tun")


def waiting(machines: Vms, domain: MachineDomain) -> set[int]:
    """The QEMUs that wait to be clones of it, as soon as all are there."""
    return {machine.process.pid for machine in machines.call(machines.host.machines.waiting(domain.key))}


def written(pid: int) -> list[int]:
    """KiB of its RAM that a QEMU has copied for itself, by mapping: what comes into the file later is not seen there."""
    found, is_ram = [], False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):  # the head of a mapping
            is_ram = "memfd:gridcentric-ram" in rest
        elif is_ram and name == "Anonymous:":
            found.append(int(rest.split()[0]))
    return found


def hold(family: Family, vms: int) -> Program:
    """A program that holds a ticket."""
    program = family.start("bash", "-c", HOLD, "-", str(vms), given=None)
    family.until(lambda: "held" in program.master.lines)
    return program


def cloned(family: Family, program: Program, vms: int) -> set[int]:
    """The QEMUs of that many clones, as soon as the program runs in all of them."""

    def run() -> bool:
        there = {domain.vmid for domain in family.clones()}
        return len([c for c in program.copies.values() if c.vmid in there and f"clone {c.vmid}" in c.lines]) == vms

    family.until(run)
    return {domain.machine.process.pid for domain in family.clones()}


def test_machines_wait_for_a_ticket_and_become_its_clones(machines: Vms, family: Family) -> None:
    before = qemus()
    program = hold(family, 3)
    ready = waiting(machines, family.master)
    assert len(ready) == 3
    assert qemus() == before | ready
    assert [written(pid) for pid in ready] == [[0]] * 3
    family.give(program, b"clone\n")
    assert cloned(family, program, 3) == ready
    assert qemus() == before | ready, "none was started meanwhile"
    assert machines.host.machines.pauses[-1].waited == 3
    assert not waiting(machines, family.master)


def test_more_clones_than_may_wait(machines: Vms, family: Family) -> None:
    program = hold(family, LIMIT + 2)
    ready = waiting(machines, family.master)
    assert len(ready) == LIMIT
    family.give(program, b"clone\n")
    assert cloned(family, program, LIMIT + 2) > ready


def test_a_clone_that_does_not_wait_for_the_pool(machines: Vms, family: Family) -> None:
    """The ticket is used at once: what is being started is used, the rest is started as without a pool."""
    program = family.start("bash", "-c", HOLD, "-", "3", given=b"clone\n")
    cloned(family, program, 3)


def test_what_waits_goes_with_its_ticket(machines: Vms, family: Family) -> None:
    before = held_here()
    one, three = hold(family, 1), hold(family, 3)
    ready = waiting(machines, family.master)
    assert len(ready) == 4
    family.give(one, b"release\n")
    family.until(lambda: "released" in one.master.lines)
    assert waiting(machines, family.master) < ready
    assert len(waiting(machines, family.master)) == 3
    family.give(three, b"release\n")
    family.until(lambda: "released" in three.master.lines)
    assert not waiting(machines, family.master)
    assert held_here() == before


def test_a_machine_that_dies_as_it_waits(machines: Vms, family: Family) -> None:
    program = hold(family, 2)
    victim, other = sorted(waiting(machines, family.master))
    os.kill(victim, signal.SIGKILL)
    family.give(program, b"clone\n")
    assert other in cloned(family, program, 2)
    assert victim not in qemus()


def test_all_or_none(machines: Vms, family: Family) -> None:
    """One that waited fails: all are gone, the ticket is as it was, and machines wait for it again."""
    program = hold(family, 2)
    first = waiting(machines, family.master)
    undo = fail_at(2)
    try:
        family.give(program, b"clone\n")
        family.until(lambda: "told to fail" in program.master.output.decode())
    finally:
        undo()
    assert not family.clones()
    again = waiting(machines, family.master)
    assert len(again) == 2
    assert not first & qemus()
    family.give(program, b"again\n")
    assert cloned(family, program, 2) == again


def test_clones_of_a_clone(machines: Vms, family: Family) -> None:
    program = family.start("bash", "-c", HOLD_IN_A_CLONE, given=None)
    family.until(lambda: any("held" in clone.lines for clone in program.clones()))
    [parent] = family.clones()
    ready = waiting(machines, parent)
    assert len(ready) == 2

    async def go_on() -> None:
        parent.channel.inherit(program.stream)
        parent.channel.write(program.stream, b"go\n")

    machines.call(go_on())
    assert cloned(family, program, 3) == ready | {parent.machine.process.pid}
    family.end(parent)  # its clones live on
    family.until(lambda: parent not in family.clones())


def test_too_little_memory(machines: Vms, family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None waits, the caller does not notice, and the trace says why."""
    trace = tmp_path / "trace"
    monkeypatch.setenv("GRIDCENTRIC_TRACE", str(trace))
    with monkeypatch.context() as patch:
        patch.setattr(ram, "available", lambda: 64 << 20)
        program = hold(family, 2)
        assert not waiting(machines, family.master)
    line = json.loads(trace.read_text())
    assert (line["pool"], line["wanted"]) == (0, 2)
    assert "64 MiB are free" in line["why"]
    family.give(program, b"clone\n")
    cloned(family, program, 2)


@pytest.mark.full
def test_the_master_is_killed(machines: Vms) -> None:
    before = held_here()
    family = machines.boot(memory_mib=128)
    hold(family, 2)
    assert len(waiting(machines, family.master)) == 2
    os.kill(family.master.machine.process.pid, signal.SIGKILL)
    family.until(lambda: 0 in family.codes)
    assert not waiting(machines, family.master)
    assert held_here() == before


@pytest.mark.full
def test_the_host_ends(machines: Vms) -> None:
    before = held_here()
    other = Vms()
    family = other.boot(memory_mib=128)
    hold(family, 3)
    other.close()  # whether they wait already or not
    assert held_here() == before


@pytest.mark.full
def test_machines_with_a_disk_have_no_pool(machines: Vms) -> None:
    family = machines.boot(memory_mib=128, disk_mib=64)
    program = hold(family, 1)
    assert not waiting(machines, family.master)
    family.give(program, b"clone\n")
    cloned(family, program, 1)
    os.kill(family.master.machine.process.pid, signal.SIGKILL)
    family.until(lambda: not family.clones())


# --- without a VM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["-1", "many", "10000", "1.5"])
def test_a_limit_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDCENTRIC_POOL", text)
    with pytest.raises(ValueError, match=f"GRIDCENTRIC_POOL={text}: expected how many machines may wait"):
        pool.limit_here()


class Stand:
    """A machine that does nothing: it is there, may die, and is discarded."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.process = self
        self.gone = asyncio.Event()

    def alive(self) -> bool:
        return not self.gone.is_set()

    async def ended(self) -> int:
        await self.gone.wait()
        return -9

    async def discard(self) -> None:
        self.gone.set()
        self.world.machines.discard(self)


class Parent:
    shape = SimpleNamespace(memory=1 << 20)
    mac = "52:54:00:00:00:01"


class World:
    """What pools are among: taps and machines that can be counted, and a parent or two."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.taps: set[str] = set()
        self.machines: set[Stand] = set()
        self.number = 0
        self.parents: list[Any] = [Parent(), Parent()]

    async def pause(self) -> None:
        for _ in range(self.dice.randrange(4)):
            await asyncio.sleep(0)

    async def new_seed(self, mac: str) -> tuple[str, Any]:
        await self.pause()
        if self.dice.random() < 0.05:
            raise OSError("there is no tap")
        self.number += 1
        self.taps.add(f"t{self.number}")
        return f"t{self.number}", SimpleNamespace(tap=os.dup(2))

    async def drop_tap(self, tap: str) -> None:
        await self.pause()
        self.taps.remove(tap)

    async def start(self, shape: Any, memory: Any, seed: Any, *, incoming: bool) -> Stand:
        assert incoming
        assert os.fstat(memory.fd).st_size == shape.memory, "the file of the pool"
        os.close(memory.fd)
        await self.pause()
        if self.dice.random() < 0.05:
            raise MachineError("told to fail")
        machine = Stand(self)
        self.machines.add(machine)
        return machine

    async def clone(self, prepared: pool.Prepared) -> None:
        """Take what is prepared, as a cloning does, and end it."""
        results = await asyncio.gather(*(one.start for one in prepared.waiting), return_exceptions=True)
        for one, result in zip(prepared.waiting, results):
            if isinstance(result, BaseException):
                continue
            await cast(Any, result).discard()
            self.taps.remove(one.tap)
        lost = [one for one, result in zip(prepared.waiting, results) if isinstance(result, BaseException)]
        self.taps -= {one.tap for one in lost}
        os.close(prepared.memory)


@pytest.mark.parametrize("seed", range(50))
def test_nothing_is_left_whatever_comes_when(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hints, clonings, failing starts and deaths in any order, each at any time of the others."""
    dice = random.Random(seed)
    limit = dice.randrange(1, 8)

    async def play() -> None:
        world = World(dice)
        monkeypatch.setattr(pool.Machine, "start", world.start)
        pools = pool.Pools(limit, lambda parent: 0, world.new_seed, world.drop_tap)
        clonings = []
        for _ in range(200):
            parent = dice.choice(world.parents)
            what = dice.randrange(6)
            if what < 2:
                pools.expect(parent, dice.randrange(6))
            elif what == 2 and (prepared := pools.take(parent, dice.randrange(1, 6))) is not None:
                assert len(prepared.waiting) <= limit
                clonings.append(asyncio.create_task(world.clone(prepared)))
            elif what == 3 and world.machines:
                dice.choice(sorted(world.machines, key=id)).gone.set()
            elif what == 4:
                await pools.settled()
                assert sum(len(pools.waiting(one)) for one in world.parents) <= limit
            await world.pause()
        await asyncio.gather(*clonings)
        await pools.close()
        assert (world.taps, world.machines) == (set(), set())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    kinds = ("memfd:gridcentric", str(Path("/proc/self/fd/2").readlink()))  # the latter: of the seeds
    before = held(*kinds)
    asyncio.run(play())
    assert held(*kinds) == before
