"""Clones that load their master's device state onto a template of its RAM: for every accelerator, and the one way under KVM,
whose machines can't be copied as processes are. Knows machines and RAM; knows nothing of families.

    save      the master stands still: its device state goes into a memfd
    template  its RAM is copied into another; a clone's private RAM is first written out whole and loaded into a machine that
              never runs, whose RAM becomes the template
    load      N machines on the template, copy-on-write, with the device state
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from gridcentric.hypervisors.qemu import ram
from gridcentric.hypervisors.qemu.disk import Disk, Frozen
from gridcentric.hypervisors.qemu.machine import Machine, Ram, Seed, Shape
from gridcentric.hypervisors.qemu.pool import Prepared, Waiting
from gridcentric.hypervisors.qemu.times import Times, timed


@dataclass
class Template:
    """RAM, device state and disk that clones start from. Freed when its last user has ended."""

    memory: int
    state: int
    disk: Frozen | None
    users: int = 0

    def release(self) -> None:
        self.users -= 1
        if self.users <= 0:
            os.close(self.memory)
            os.close(self.state)
            if self.disk is not None:
                self.disk.release()


class Loading:
    name = "load"

    def __init__(self, spare_seed: Callable[[], Awaitable[Seed]]) -> None:
        """spare_seed: what a machine is made with that never runs; its tap is this object's to close."""
        self._spare_seed = spare_seed

    def close(self) -> None:
        """There is nothing that outlives the machines."""

    def memory_needed(self, parent: Machine) -> int:
        """Bytes, beside those of each clone."""
        used = ram.used(parent.ram.fd) if parent.ram.shared else parent.shape.memory
        return used + parent.shape.memory // 4

    async def boot(self, shape: Shape, seed: Seed) -> Machine:
        disk = await asyncio.to_thread(Disk.new, shape.disk) if shape.disk else None
        return await Machine.start(shape, Ram(ram.create(shape.memory), shared=True), seed, disk=disk)

    async def clone(
        self,
        parent: Machine,
        still: AbstractAsyncContextManager[None],
        seeds: list[Seed],
        times: Times,
        prepared: Prepared | None = None,
    ) -> list[Machine]:
        """Clones that stand still, all or none: the machines that are prepared and one for each seed. The parent stands still
        within `still`."""
        memory = ram.create(parent.shape.memory) if prepared is None else os.dup(prepared.memory)
        template = await self.freeze(parent, memory, still, times)
        try:
            with timed(times, "load"):
                return await self.load_all(template, parent.shape, seeds, prepared.waiting if prepared else [])
        finally:
            template.release()

    async def load_all(
        self, template: Template, shape: Shape, seeds: list[Seed], waiting: Sequence[Waiting] = ()
    ) -> list[Machine]:
        """Machines on the template that stand still, all or none: those that wait and one for each seed."""
        loads = [self._load(one.start, template) for one in waiting]
        loads += [self._load(self._start(shape, template, seed), template) for seed in seeds]
        results = await asyncio.gather(*loads, return_exceptions=True)
        made = [result for result in results if isinstance(result, Machine)]
        for result in results:
            if isinstance(result, BaseException):
                for machine in made:
                    await machine.discard()
                raise result
        return made

    async def freeze(self, parent: Machine, memory: int, still: AbstractAsyncContextManager[None], times: Times) -> Template:
        """What clones of the parent start from; the caller is its first user. memory: empty; the template's, also when this
        fails."""
        size, shared = parent.shape.memory, parent.ram.shared
        state = ram.create(0)
        frozen = None
        try:
            if parent.disk is not None:
                await parent.disk.prepare(parent)
            async with AsyncExitStack() as kept:
                copy = kept.enter_context(ram.ready_to_copy(parent.ram.fd, memory, size)) if shared else None
                await kept.enter_async_context(still)
                if parent.disk is not None:  # before the state is saved: QEMU writes no disk after that
                    frozen = await parent.disk.freeze(parent)
                with timed(times, "save"):
                    await parent.save(state, with_ram=not shared)
                if copy is not None:
                    with timed(times, "copy"):
                        copy()
            if not shared:
                with timed(times, "convert"):
                    state = await self._converted(parent, state, memory)
        except BaseException:
            os.close(state)
            os.close(memory)
            if frozen is not None:
                frozen.release()
            raise
        return Template(memory, state, frozen, users=1)

    async def _converted(self, parent: Machine, whole: int, memory: int) -> int:
        """A clone's RAM is not a file that others could map: load all of it into a machine that never runs, on `memory`, and
        keep the device state of that. Returns the new state; `whole` is closed."""
        seed = await self._spare_seed()
        try:
            machine = await Machine.start(parent.shape, Ram(os.dup(memory), shared=True), seed, incoming=True)
        finally:
            os.close(seed.tap)
        try:
            os.lseek(whole, 0, os.SEEK_SET)
            await machine.load(whole, with_ram=True)
            state = ram.create(0)
            try:
                await machine.save(state, with_ram=False)
            except BaseException:
                os.close(state)
                raise
        finally:
            await machine.discard()
        os.close(whole)
        return state

    async def _start(self, shape: Shape, template: Template, seed: Seed) -> Machine:
        disk = None if template.disk is None else Disk.over(template.disk)
        return await Machine.start(shape, Ram(os.dup(template.memory)), seed, incoming=True, disk=disk)

    async def _load(self, starting: Awaitable[Machine], template: Template) -> Machine:
        machine = await starting
        template.users += 1
        machine.at_end.append(template.release)
        try:
            # Each needs its own file offset.
            state = os.open(f"/proc/self/fd/{template.state}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                await machine.load(state, with_ram=False)
            finally:
                os.close(state)
        except BaseException:
            await machine.discard()
            raise
        return machine
