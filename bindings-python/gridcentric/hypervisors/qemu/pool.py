"""Machines that wait: QEMUs that are started when a ticket is given, so that its clone() finds them there (docs/qemu.md,
"How a VM is cloned").

Those of one master map one empty memory file, which becomes the template of its next cloning, filled in place: a pool serves
one cloning. Knows machines and how many of them may wait; knows nothing of tickets and families, nor how a machine gets its
state (loading.py). Belongs to one asyncio loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from gridcentric.hypervisors.qemu import ram
from gridcentric.hypervisors.qemu.machine import Machine, MachineError, Ram, Seed
from gridcentric.hypervisors.qemu.network import NetworkError
from gridcentric.hypervisors.qemu.times import trace

MOST = 64  # machines that wait, of one host, unless GRIDCENTRIC_POOL says otherwise
_AT_A_TIME = os.cpu_count() or 1  # are being started


def limit_here() -> int:
    """How many machines may wait at a time. Raises ValueError."""
    text = os.environ.get("GRIDCENTRIC_POOL") or str(MOST)
    if not text.isdecimal() or len(text) > 4:
        raise ValueError(f"GRIDCENTRIC_POOL={text}: expected how many machines may wait for a clone(), 0 to 9999")
    return int(text)


@dataclass(eq=False)
class Waiting:
    """A machine that waits, or is being started to."""

    tap: str
    start: asyncio.Task[Machine]
    watch: asyncio.Task[None] | None = None

    def stop_watching(self) -> None:
        if self.watch is not None:
            self.watch.cancel()

    def dead(self) -> bool:
        """It came to nothing, or has ended since."""
        return self.start.done() and (self.start.exception() is not None or not self.start.result().process.alive())


@dataclass
class Prepared:
    """What is there for a cloning; all of it is the taker's."""

    memory: int  # a file of the master's size, all zeros
    waiting: list[Waiting]  # machines that map it


@dataclass(eq=False)
class _Pool:
    parent: Machine
    memory: int
    wanted: int = 0
    coming: int = 0  # will be in `waiting` in a moment
    waiting: list[Waiting] = field(default_factory=list)
    why_no_more: str = ""

    @property
    def size(self) -> int:
        return len(self.waiting) + self.coming


class Pools:
    """The machines that wait on one host, by the machine that they will be clones of."""

    def __init__(
        self,
        limit: int,
        memory_needed: Callable[[Machine], int],
        new_seed: Callable[[str], Awaitable[tuple[str, Seed]]],
        drop_tap: Callable[[str], Awaitable[None]],
    ) -> None:
        """memory_needed: by a cloning, beside what each clone takes. new_seed: of a MAC; the tap by its name, and the seed."""
        self._limit = limit
        self._memory_needed = memory_needed
        self._new_seed = new_seed
        self._drop_tap = drop_tap
        self._pools: dict[Machine, _Pool] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()  # what is under way, the workers too
        self._watches: set[asyncio.Task[None]] = set()  # of those that wait

    def expect(self, parent: Machine, clones: int) -> None:
        """So many clones of it may be asked for. Machines for them are started in the background, as many as there may and
        can be; those beyond are ended."""
        pool = self._pools.get(parent)
        if pool is None:
            if clones == 0 or self._limit == 0:
                return
            pool = self._pools[parent] = _Pool(parent, ram.create(parent.shape.memory))
        pool.wanted, pool.why_no_more = clones, ""
        surplus, pool.waiting = pool.waiting[clones:], pool.waiting[:clones]
        if clones == 0:
            del self._pools[parent]
        self._spawn(self._give_up(surplus, pool.memory if clones == 0 else -1))
        self._fill()

    def take(self, parent: Machine, most: int) -> Prepared | None:
        """What has been prepared for its clones, at most `most` machines; some may still be starting. The rest is ended:
        the file is taken."""
        pool = self._pools.pop(parent, None)
        if pool is None:
            return None
        living = [waiting for waiting in pool.waiting if not waiting.dead()]
        taken = living[:most]
        surplus, pool.waiting = [waiting for waiting in pool.waiting if waiting not in taken], []
        for waiting in taken:
            waiting.stop_watching()
        self._spawn(self._give_up(surplus))
        self._fill()  # another pool may have the room
        return Prepared(pool.memory, taken)

    async def settled(self) -> None:
        """Wait until all machines are there that will be, and those given up are gone: for tests and measurements."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def waiting(self, parent: Machine) -> list[Machine]:
        """Those that wait, once it is settled."""
        pool = self._pools.get(parent)
        return [waiting.start.result() for waiting in pool.waiting] if pool is not None else []

    async def discard(self, waiting: list[Waiting]) -> None:
        """Nothing of them is left; what is being started is waited for, as a start is not cut short."""
        await asyncio.gather(*map(self._discard, waiting))

    async def close(self) -> None:
        """Nothing of any is left, and there are no more."""
        self._limit = 0
        for parent in list(self._pools):
            self.expect(parent, 0)
        while under_way := self._tasks | self._watches:
            await asyncio.wait(under_way)

    # --- filling -----------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        lacking = sum(pool.wanted - pool.size for pool in self._pools.values() if not pool.why_no_more)
        while len(self._workers) < min(_AT_A_TIME, lacking):
            self._workers.add(self._spawn(self._work()))

    def _lacking(self) -> _Pool | None:
        if sum(pool.size for pool in self._pools.values()) >= self._limit:
            return None
        return next((pool for pool in self._pools.values() if pool.size < pool.wanted and not pool.why_no_more), None)

    async def _work(self) -> None:
        try:
            while (pool := self._lacking()) is not None:
                if why := await self._add(pool):
                    pool.why_no_more = why
                    trace({"pool": len(pool.waiting), "wanted": pool.wanted, "why": why})
        finally:  # in the same step as it has seen that nothing lacks
            self._workers = {worker for worker in self._workers if worker is not asyncio.current_task()}

    async def _add(self, pool: _Pool) -> str:
        """Have one more machine wait; why that can't be done, or nothing."""
        needed = self._memory_needed(pool.parent) + ram.CLONE_NEEDS + pool.size * (ram.CLONE_NEEDS - ram.WAITING_HAS)
        if short := ram.shortage(needed):
            return short
        pool.coming += 1
        try:
            tap, seed = await self._new_seed(pool.parent.mac)
        except (NetworkError, OSError) as error:
            return str(error)
        finally:
            pool.coming -= 1
        if self._pools.get(pool.parent) is not pool or pool.size >= pool.wanted:  # not wanted any more
            os.close(seed.tap)
            await self._drop(tap)
            return ""
        waiting = Waiting(tap, asyncio.ensure_future(_start(pool, seed)))
        pool.waiting.append(waiting)
        await asyncio.wait([waiting.start])
        if waiting not in pool.waiting:  # taken or given up meanwhile
            return ""
        why = waiting.start.exception()
        if why is None:
            waiting.watch = self._spawn(self._until_end(pool, waiting), self._watches)
            return ""
        pool.waiting.remove(waiting)
        await self._discard(waiting)
        return str(why)

    async def _until_end(self, pool: _Pool, waiting: Waiting) -> None:
        await waiting.start.result().process.ended()
        if waiting in pool.waiting:
            pool.waiting.remove(waiting)
            self._spawn(self._discard(waiting))

    # --- the end of those that wait ------------------------------------------------------------------------------------

    async def _give_up(self, waiting: list[Waiting], memory: int = -1) -> None:
        await self.discard(waiting)
        if memory >= 0:  # not before: one that was being started has taken its own just now
            os.close(memory)

    async def _discard(self, waiting: Waiting) -> None:
        waiting.stop_watching()
        with contextlib.suppress(MachineError, OSError):
            await (await waiting.start).discard()
        await self._drop(waiting.tap)

    async def _drop(self, tap: str) -> None:
        with contextlib.suppress(NetworkError):  # the helper is gone, and the tap with it
            await self._drop_tap(tap)

    def _spawn(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]] | None = None) -> asyncio.Task[None]:
        tasks = self._tasks if among is None else among
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task


async def _start(pool: _Pool, seed: Seed) -> Machine:
    try:
        return await Machine.start(pool.parent.shape, Ram(os.dup(pool.memory)), seed, incoming=True)
    finally:
        os.close(seed.tap)
