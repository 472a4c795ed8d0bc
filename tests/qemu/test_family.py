"""Families of VMs: all clones or none, ends from outside, what each way of ending leaves behind, templates."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from vms import Family, Vms, fail_at, held

from gridcentric.hypervisors.qemu import copying
from gridcentric.hypervisors.qemu.channel import Channel
from gridcentric.hypervisors.qemu.family import FamilyError, method_here
from gridcentric.hypervisors.qemu.machine import Machine, MachineError, Ram, Seed
from gridcentric.hypervisors.qemu.network import Network

# Clones as asked, and waits; the clones wait for their end.
CLONE = """ticket=$(gc rt $1 $1 1 10000) && vmid=$(gc clone $ticket) &&
if gc ismaster; then gc wait $ticket; else exec sleep 100000; fi"""


def memory_files() -> int:
    """RAM and states that this process holds."""
    return len(held("memfd:gridcentric"))


def test_a_clone_that_fails_takes_the_others_along(family: Family) -> None:
    """The k-th of three can't be made: none is left, the ticket is as it was, and works when the trouble is over."""
    before = memory_files()
    undo = fail_at(3)
    script = """ticket=$(gc rt 3 3 1 10000); gc clone $ticket; echo "ended with $?"; gc lt | tail -n 1; read go
    vmid=$(gc clone $ticket); gc ismaster && gc wait $ticket || gc join"""
    program = family.start("bash", "-c", script, given=None)
    try:
        family.until(lambda: "reserved" in program.master.output.decode())
    finally:
        undo()
    assert not family.clones()
    complaint, ended, ticket = program.master.lines
    assert "the machine could not be cloned: told to fail" in complaint
    assert ended == "ended with 23"
    assert ticket.endswith(" reserved 3 3 1")
    family.give(program, b"go\n")
    family.until(lambda: program.master.code is not None and not family.clones())
    results = program.master.lines[3:]
    assert [line.split()[2:] for line in results] == [["joined", "0", "="]] * 3
    assert memory_files() == before, "the template went with its last clone"


def test_a_qemu_that_takes_no_library(machines: Vms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if method_here() != "copy":
        return  # none is loaded
    (tmp_path / "none.so").write_text("not a library")
    monkeypatch.setattr(copying, "LIBRARY", tmp_path / "none.so")
    known = machines.host.machines.all()
    with pytest.raises(MachineError, match=r"none\.so could not be loaded into QEMU \(.*GRIDCENTRIC_MACHINE_CLONE=load"):
        machines.boot(memory_mib=128)
    assert machines.host.machines.all() == known


def test_a_machine_that_ends_as_it_is_told_who_it_is(machines: Vms, monkeypatch: pytest.MonkeyPatch) -> None:
    known = machines.host.machines.all()
    ask = Channel.ask

    async def kill_first(channel: Channel, verb: str, *arguments: object) -> None:
        (born,) = [domain for domain in machines.host.machines.all() if domain not in known]
        born.machine.process.kill()
        await ask(channel, verb, *arguments)

    monkeypatch.setattr(Channel, "ask", kill_first)
    with pytest.raises(FamilyError, match="did not come up: the machine has ended"):
        machines.boot(memory_mib=128)
    assert machines.host.machines.all() == known


def test_a_machine_that_is_ended_before_its_qemu_is_there(machines: Vms, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not boot first, which takes seconds, or for ever."""
    known = machines.host.machines.all()
    tap = Network.tap

    async def end_first(network: Network, name: str) -> int:
        made = await tap(network, name)
        machines.host.machines.end(max(machines.host._owners))
        return made

    monkeypatch.setattr(Network, "tap", end_first)
    with pytest.raises(FamilyError, match="did not come up: the machine"):
        machines.boot(memory_mib=128)
    assert machines.host.machines.all() == known


def test_what_a_monitor_tells_is_not_kept(family: Family) -> None:
    """Its agent's port has been opened, of which QEMU tells, as of much that a guest does."""
    assert family.master.machine.qmp.events.empty()


def test_ends_from_outside_are_noticed(family: Family) -> None:
    """kill -9 of a QEMU, another signal, gc kill, and the last by the host: gc wait reports each."""
    before = memory_files()
    program = family.start("bash", "-c", CLONE, "-", "4")
    family.until(lambda: len(family.clones()) == 4 and {c.vmid for c in family.clones()} <= family.born())
    first, second, third, last = family.clones()
    for domain, number in ((first, signal.SIGKILL), (second, signal.SIGVTALRM)):
        os.kill(domain.machine.process.pid, number)
        family.until(lambda vmid=domain.vmid: vmid in family.codes)
    family.start("gc", "kill", str(third.vmid))
    family.until(lambda: third.vmid in family.codes)
    assert [domain.vmid for domain in family.clones()] == [last.vmid]
    assert program.master.code is None
    family.end(last)
    family.until(lambda: program.master.code is not None)
    codes = ((first, 9), (second, 26), (third, 9), (last, 9))
    assert program.master.lines == [f"result {domain.vmid} killed {code} -" for domain, code in codes]
    family.until(lambda: not family.clones())
    assert memory_files() == before


def test_a_monitor_that_goes_between_two_commands(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cloning fails, as its program is told."""

    async def gone(machine: Machine, *args: Any, **kwargs: Any) -> None:
        Machine.send(machine_without_monitor, 0)

    machine_without_monitor = Machine(family.master.machine.shape, Ram(), Seed(-1, ""))
    monkeypatch.setattr(Machine, "stop", gone)
    script = "ticket=$(gc rt 1 1 1 10000); gc clone $ticket; echo ended with $?"
    done = family.run("bash", "-c", script)
    assert "the machine could not be cloned: QEMU is gone" in done.master.lines[0]
    assert done.master.lines[1] == "ended with 23"


def test_the_family_of_a_killed_master_ends(machines: Vms) -> None:
    before = memory_files()
    family = machines.boot(memory_mib=128)
    family.start("bash", "-c", CLONE, "-", "2")
    family.until(lambda: len(family.born()) == 2)
    os.kill(family.master.machine.process.pid, signal.SIGKILL)
    family.until(lambda: not family.clones() and 0 in family.codes)
    assert memory_files() == before
