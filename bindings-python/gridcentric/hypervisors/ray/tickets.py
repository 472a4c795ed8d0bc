"""Tickets as placement groups of Ray's: a bundle of CPUs and memory for each VM, all or none. A group stays pending while
there is no room for it, where Ray's autoscaler sees it, and is removed with its ticket. Knows nothing of VMs.

The memory is Ray's own resource `memory`: every computer has it without being told, an autoscaler knows it, and Ray gives to
nobody else what a VM may need. It is counted and not enforced; QEMU takes no more than the VM has.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from gridcentric.hypervisors.ray.room import Room, Size

STRATEGIES = ("PACK", "SPREAD")
ROUND_S = 2  # Ray counts whole seconds
MOST_WAITERS = 8  # the head of the line, and masters
AT_ONCE_S = 0.5  # where there is room, Ray grants in a few milliseconds
RETURN_S = 0.5  # every tenth of a second Ray's computers say what is free again
LOOK_S = 0.01


def alive() -> dict[str, dict[str, Any]]:
    """Ray's description of each computer that is there, by its name."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _reported() -> dict[str, Size]:
    # Not public: the public ray.available_resources() is a sum over all computers.
    found = ray._private.state.available_resources_per_node()
    return {name: Size(free.get("CPU", 0), free.get("memory", 0)) for name, free in found.items()}


@dataclass
class _Held:
    group: PlacementGroup
    vm: Size
    many: int
    ready: asyncio.Future[list[str]]  # the computer of each VM
    in_line: bool = False  # it is waited for, and whoever asks is told when it is granted
    hastened: bool = False


class Tickets:
    """All methods belong to one asyncio loop."""

    def __init__(self, strategy: str, room: Callable[[], None]) -> None:
        """room(): what was pending has been granted."""
        self._strategy = strategy
        self._room = room
        self._books = Room()
        self._held: dict[str, _Held] = {}
        self._returned_by = 0.0  # when Ray has certainly taken back what was released
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters = ThreadPoolExecutor(MOST_WAITERS, "gc-tickets")

    def look(self) -> dict[str, dict[str, Any]]:
        """The computers that are there now."""
        nodes = alive()
        self._books.computers = {
            name: Size(node["Resources"].get("CPU", 0), node["Resources"].get("memory", 0)) for name, node in nodes.items()
        }
        return nodes

    async def reserve(self, ticket: str, vm: Size, least: int, most: int) -> list[str]:
        """For the head of the line. The computer of each VM, from `least` to `most`; nothing: there is no room yet, and room()
        says when to ask again."""
        held = self._held.get(ticket)
        if held is None:
            self.look()
            room = min(most, self._books.most(vm))
            if room >= least:
                await self._until_returned(vm, room)
            held = self._ask(ticket, vm, max(least, room))
            if room >= least and not await self._at_once(ticket, held):
                # Somebody else has a part of the cluster. What would be asked for again is waited for: Ray frees a group that
                # is given up no sooner than what it waits for.
                held = self._at_most(ticket, held, max(least, min(most, self._books.most(vm, _reported()))))
                if not await self._at_once(ticket, held):
                    held = self._at_most(ticket, held, least)
            if not held.ready.done():
                self._watch(ticket, held)
        return held.ready.result() if held.ready.done() else []

    def where(self, ticket: str) -> list[str]:
        """The computer of each VM. Looked up anew: Ray moves what it has placed on a computer that is lost."""
        held = self._held.get(ticket)
        return [] if held is None else _places(held)

    def release(self, ticket: str) -> None:
        """Also of one that is pending. May be called twice."""
        held = self._held.pop(ticket, None)
        self._books.give_back(ticket)
        if held is None:
            return
        granted = held.ready.done()
        held.ready.cancel()
        remove_placement_group(held.group)
        if granted:
            self._returned_by = time.monotonic() + RETURN_S
            for name, other in self._held.items():
                if other.in_line and not other.hastened and self._pends(name, other):
                    other.hastened = True
                    self._spawn(self._hasten(name, other))

    def close(self) -> None:
        for ticket in list(self._held):
            self.release(ticket)
        for task in self._tasks:
            task.cancel()
        self._waiters.shutdown(wait=False, cancel_futures=True)

    async def _until_returned(self, vm: Size, many: int) -> None:
        """Wait until Ray has taken back as much of what was released as that many VMs need. What it can't place at once it
        tries again only after a second."""
        while time.monotonic() < self._returned_by and self._books.most(vm, _reported()) < many:
            await asyncio.sleep(LOOK_S)

    async def _hasten(self, ticket: str, held: _Held) -> None:
        """What is pending gets what was released once Ray has it, by a second group; until then the first keeps its place."""
        await self._until_returned(held.vm, held.many)
        held.hastened = False
        if not self._pends(ticket, held) or self._books.most(held.vm, _reported()) < held.many:
            return
        beside = f"{ticket} beside"
        if await self._try(beside, held.vm, held.many) is None:
            return
        if not self._pends(ticket, held):
            self.release(beside)
            return
        self.release(ticket)
        granted = self._held[ticket] = self._held.pop(beside)
        self._books.give_back(beside)
        self._books.take(ticket, granted.vm, granted.ready.result())
        self._room()

    def _pends(self, ticket: str, held: _Held) -> bool:
        return self._held.get(ticket) is held and not held.ready.done()

    def _ask(self, ticket: str, vm: Size, many: int, besides: dict[str, float] | None = None) -> _Held:
        bundle = {"memory": vm.memory} | ({"CPU": vm.cpus} if vm.cpus else {}) | (besides or {})
        group = placement_group([bundle] * many, strategy=self._strategy)
        held = self._held[ticket] = _Held(group, vm, many, asyncio.get_running_loop().create_future())
        return held

    def _at_most(self, ticket: str, held: _Held, many: int) -> _Held:
        """One of no more VMs, in the place of one that is pending."""
        if held.many <= many:
            return held
        self.release(ticket)
        return self._ask(ticket, held.vm, many)

    async def _at_once(self, ticket: str, held: _Held) -> bool:
        """Is it granted in the time that Ray needs where there is room?"""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._granted(ticket, held), AT_ONCE_S)
        return held.ready.done()

    async def _try(self, ticket: str, vm: Size, many: int, besides: dict[str, float] | None = None) -> _Held | None:
        """Nothing, when it is not granted at once."""
        held = self._ask(ticket, vm, many, besides)
        if await self._at_once(ticket, held):
            return held
        self.release(ticket)
        return None

    async def wait(self, ticket: str, vm: Size) -> str:
        """For one VM that stands in no line: this computer where it has room, or else any, as soon as there is room."""
        near = {f"node:{ray.util.get_node_ip_address()}": 0.001}  # what Ray lets each computer have, to name it by
        held = await self._try(ticket, vm, 1, near) or await self._try(ticket, vm, 1)
        if held is None:
            held = self._ask(ticket, vm, 1)
            await self._granted(ticket, held)
        return held.ready.result()[0]

    async def _granted(self, ticket: str, held: _Held) -> None:
        # Not ready(), which is a task on one of the computers and may take a second.
        while not await asyncio.get_running_loop().run_in_executor(self._waiters, held.group.wait, ROUND_S):
            if self._held.get(ticket) is not held:
                return
        if self._held.get(ticket) is held:
            places = _places(held)
            self._books.take(ticket, held.vm, places)
            held.ready.set_result(places)

    def _watch(self, ticket: str, held: _Held) -> None:
        held.in_line = True

        async def watch() -> None:
            await self._granted(ticket, held)
            if held.ready.done() and not held.ready.cancelled():
                self._room()

        self._spawn(watch())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a group that was removed while it was waited for


def _places(held: _Held) -> list[str]:
    places = placement_group_table(held.group)["bundles_to_node_id"]
    return [places[number] for number in range(held.many) if places.get(number)]
