"""The VMs of one computer of a cluster, whose families have VMs on others too: what is one step in the qemu hypervisor, to
clone, is four here, each ordered from elsewhere. Knows VMs and files; nothing of Ray, the host or how files come from
another computer.

    freeze  the parent stands still, and what its clones start from is kept under a name
    hold    clones are made from that, on this computer, and stand still
    go      they are told who they are and go on
    drop    what they have started from is needed no longer; those that have not gone on are ended
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from typing import Any

from gridcentric.hypervisors.qemu import ram
from gridcentric.hypervisors.qemu.channel import ChannelError
from gridcentric.hypervisors.qemu.family import FamilyError, Machines
from gridcentric.hypervisors.qemu.loading import Template
from gridcentric.hypervisors.qemu.machine import MachineError, Seed, Shape
from gridcentric.hypervisors.qemu.machine_domain import MachineDomain
from gridcentric.hypervisors.qemu.network import NetworkError
from gridcentric.hypervisors.qemu.times import Times


@dataclass(frozen=True)
class Origin:
    """Whose clones they are: as it goes to other computers."""

    vmid: int
    family: str
    mac: str
    call: tuple[int, str] | None  # the stream and the number of the call that asked for the cloning


@dataclass
class _Start:
    origin: Origin
    shape: Shape
    template: Template
    held: list[MachineDomain] = field(default_factory=list)


class Part(Machines):
    """All methods belong to one asyncio loop."""

    _starts: dict[str, _Start]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._starts = {}

    async def freeze(self, name: str, parent_key: int, ticket: str) -> tuple[Origin, Times]:
        """Raises FamilyError."""
        parent = self._domains.get(parent_key)
        if parent is None:
            raise FamilyError("the machine to be cloned is gone")
        machine, times = parent.machine, Times()
        origin = Origin(parent.vmid, parent.family, machine.mac, parent.channel.clone_call(ticket))
        if short := ram.shortage(self._loading.memory_needed(machine)):
            raise FamilyError(short)
        try:
            async with parent.busy:
                memory = ram.create(machine.shape.memory)
                template = await self._loading.freeze(machine, memory, self._still(parent, times), times)
        except (MachineError, ChannelError, NetworkError, OSError) as error:
            raise FamilyError(f"the machine could not be cloned: {error}") from error
        self._starts[name] = _Start(origin, machine.shape, template)
        return origin, times

    def receive(self, name: str, origin: Origin, shape: Shape, memory: int, state: int) -> None:
        """What clones start from has come from another computer; the files are this object's."""
        self._starts[name] = _Start(origin, shape, Template(memory, state, None, users=1))

    def files(self, name: str) -> tuple[int, int, int]:
        """Of what clones start from: the memory, its size and the state. They stay this object's."""
        start = self._start_of(name)
        return start.template.memory, start.shape.memory, start.template.state

    def _start_of(self, name: str) -> _Start:
        if name not in self._starts:
            raise FamilyError("the cloning has been given up")
        return self._starts[name]

    async def hold(self, name: str, clones: list[tuple[int, int, str]]) -> None:
        """Make clones, (key, vmid, ip) each, all or none. Raises FamilyError."""
        start = self._start_of(name)
        if short := ram.shortage(ram.CLONE_NEEDS * len(clones)):
            raise FamilyError(short)
        taps: list[str] = []
        seeds: list[Seed] = []
        try:
            for _ in clones:
                tap, seed = await self._seed(start.origin.mac)
                taps.append(tap)
                seeds.append(seed)
            start.template.users += 1  # this function's
            try:
                machines = await self._loading.load_all(start.template, start.shape, seeds)
            finally:
                start.template.release()
        except BaseException as error:
            for tap in taps:
                with contextlib.suppress(NetworkError):
                    await self._network.drop(tap)
            if isinstance(error, (MachineError, NetworkError, OSError)):
                raise FamilyError(f"the machine could not be cloned: {error}") from error
            raise
        finally:
            for seed in seeds:
                os.close(seed.tap)
        for (key, vmid, ip), machine, tap in zip(clones, machines, taps):
            start.held.append(await self._add(key, vmid, start.origin.family, machine, ip, tap))
        if self._starts.get(name) is not start:  # dropped meanwhile
            await self._give_up(start)
            raise FamilyError("the cloning has been given up")

    async def go(self, name: str) -> None:
        """All that are held go on, and each is watched from here on."""
        start = self._start_of(name)
        held, start.held = start.held, []
        for domain in held:
            self._watch(domain)
        await asyncio.gather(*(self._release(domain, start.origin.vmid, start.origin.call) for domain in held))

    async def drop(self, name: str) -> None:
        """May be called twice."""
        start = self._starts.pop(name, None)
        if start is not None:
            await self._give_up(start)
            start.template.release()

    async def _give_up(self, start: _Start) -> None:
        held, start.held = start.held, []
        for domain in held:
            await self._discard(domain)

    async def close(self) -> None:
        for name in list(self._starts):
            await self.drop(name)
        await super().close()
