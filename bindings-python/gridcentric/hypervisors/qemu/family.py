"""Machines that are cloned: freezing one into a template, raising clones from it, all or none. Knows machines, RAM, the
network and the agent's channel; knows nothing of the host's calls (driver.py) or of how a program is started (run.py).

The sequence (docs/qemu.md has the picture):

    quiesce   the agent stops talking, so that no message is under way in two machines
    stop      the master stands still
    save      its device state, into a memfd
    template  its RAM is copied; a clone's private RAM is first written out whole and loaded into a machine that never
              runs, whose RAM becomes the template
    cont      the master goes on: what was between is its pause
    load      N machines on the template, copy-on-write, with the device state; all are loaded before any goes on
    become    each is told who it is, then plugged into the network
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from gridcentric.hypervisors.qemu import ram
from gridcentric.hypervisors.qemu.channel import Channel, ChannelError
from gridcentric.hypervisors.qemu.machine import Machine, MachineError, Shape
from gridcentric.hypervisors.qemu.network import Network, NetworkError

# What a clone may take beyond the template's pages before it counts as not fitting: QEMU's own and its first writes.
CLONE_NEEDS = 48 << 20


class FamilyError(Exception):
    """No machine came of it; the text says why, and nothing is left of what was begun."""


@dataclass
class Template:
    """RAM and device state that clones start from. Freed when its last clone has ended."""

    memory: int
    state: int
    users: int = 0

    def release(self) -> None:
        self.users -= 1
        if self.users <= 0:
            os.close(self.memory)
            os.close(self.state)


@dataclass
class Pause:
    """Where the time of one cloning went, ms."""

    quiesce: float = 0
    save: float = 0
    copy: float = 0
    pause: float = 0
    load: float = 0
    total: float = 0


@dataclass
class Domain:
    """A machine under control."""

    key: int
    vmid: int
    family: str
    machine: Machine
    channel: Channel
    ip: str
    tap: str
    private: bool  # its RAM is copy-on-write over a template's
    template: Template | None = None
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True)
class Ears:
    """Who hears what the machines say."""

    output: Callable[[int, int, bytes], Awaitable[None]]  # key, stream, bytes
    exited: Callable[[int, int, int], None]  # key, stream, exit code
    ended: Callable[[int, int], None]  # key, QEMU's return code


def _identity(vmid: int, family: str, ip: str, mac: str) -> tuple[object, ...]:
    name = "master" if vmid == 0 else f"clone{vmid}"
    return (vmid, family, ip, Network.PREFIX, mac, "-", name, uuid.uuid4().hex, time.time_ns(), secrets.token_hex(64))


def _mac(ip: str) -> str:
    """Made of the address, so that it is as unique: 52:54 and its four bytes."""
    return "52:54:" + ":".join(f"{int(part):02x}" for part in ip.split("."))


class Machines:
    """All machines of one host. All methods belong to one asyncio loop."""

    def __init__(self, folder: Path, host: str, secret: str, ears: Ears) -> None:
        self.folder = folder  # for logs, of this process alone
        self.pauses: list[Pause] = []
        self.on_clone: Callable[[int], object] = lambda key: None  # a clone lives, by its key
        self._host = host
        self._secret = secret
        self._ears = ears
        self._network = Network()
        self._domains: dict[int, Domain] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0

    async def start(self) -> None:
        await self._network.start()

    def close(self) -> None:
        for key in list(self._domains):
            self._domains[key].machine.kill()
        self._network.close()

    @property
    def network(self) -> Network:
        return self._network

    def get(self, key: int) -> Domain | None:
        return self._domains.get(key)

    def all(self) -> list[Domain]:
        return list(self._domains.values())

    def reserve_address(self) -> str:
        return self._network.address()

    # --- a master --------------------------------------------------------------------------------------------------

    async def boot(self, key: int, family: str, shape: Shape, ip: str) -> Domain:
        """Boot a machine; returns when its agent has brought it up and it is on the network."""
        _check_memory(shape.memory + CLONE_NEEDS)
        domain = await self._raise(key, 0, family, shape, ip, ram.create(shape.memory), private=False, mac=_mac(ip))
        try:
            await domain.channel.up
            await domain.channel.ask("become", *_identity(0, family, ip, domain.machine.mac))
            await self._network.plug(domain.tap)
        except (ChannelError, NetworkError) as error:
            said = domain.machine.log.read_text(errors="replace").strip().splitlines()[-3:]
            await self._discard(domain)
            raise FamilyError(f"the machine did not come up: {error}; its console: {' / '.join(said)}") from error
        self._watch(domain)
        return domain

    # --- clones ------------------------------------------------------------------------------------------------------

    async def clone(
        self, parent_key: int, ticket: str, clones: list[tuple[int, int, str]], commit: Callable[[], Awaitable[None]]
    ) -> None:
        """Make clones, (key, vmid, ip) each, all or none; raises FamilyError. When all are loaded and none has gone on,
        commit() is awaited; a clone that fails after that has ended, as any other that fails."""
        parent = self._domains.get(parent_key)
        if parent is None:
            raise FamilyError("the machine to be cloned is gone")
        call = parent.channel.clone_call(ticket)
        _check_memory(ram.used(parent.machine.ram) + parent.machine.shape.memory // 4 + CLONE_NEEDS * len(clones))
        async with parent.busy:
            times, begin = Pause(), time.perf_counter()
            try:
                template = await self._freeze(parent, times)
            except (MachineError, ChannelError, OSError) as error:
                raise FamilyError(f"the machine could not be frozen: {error}") from error
            raised: list[Domain] = []
            load = time.perf_counter()
            template.users += 1  # this function's
            try:
                results = await asyncio.gather(
                    *(self._load(parent, template, *clone) for clone in clones), return_exceptions=True
                )
                raised = [r for r in results if isinstance(r, Domain)]
                failure = next((r for r in results if not isinstance(r, Domain)), None)
                if failure is not None:
                    raise failure
                times.load = (time.perf_counter() - load) * 1e3
            except (MachineError, ChannelError, NetworkError, OSError) as error:
                for domain in raised:
                    await self._discard(domain)
                raise FamilyError(f"a clone could not be made: {error}") from error
            finally:
                template.release()
            await commit()
            for domain in raised:
                self.on_clone(domain.key)
                self._watch(domain)
            await asyncio.gather(*(self._release(d, call) for d in raised))
            times.total = (time.perf_counter() - begin) * 1e3
            self.pauses.append(times)

    async def _freeze(self, parent: Domain, times: Pause) -> Template:
        machine, size = parent.machine, parent.machine.shape.memory
        state, memory = ram.create(0), ram.create(size)
        try:
            if not parent.private:
                ram.populate(memory, min(size, ram.used(machine.ram) + (8 << 20)))
            t0 = time.perf_counter()
            await parent.channel.ask("quiesce")
            t1 = time.perf_counter()
            await machine.stop()
            try:
                await machine.save(state, with_ram=parent.private)
                t2 = time.perf_counter()
                if not parent.private:
                    ram.copy(machine.ram, memory, size)
            finally:
                t3 = time.perf_counter()
                await machine.resume()
                times.pause = (time.perf_counter() - t1) * 1e3
                await parent.channel.ask("resume")
            times.quiesce, times.save, times.copy = (t1 - t0) * 1e3, (t2 - t1) * 1e3, (t3 - t2) * 1e3
            if parent.private:
                state = await self._converted(parent, state, memory)
        except BaseException:
            os.close(state)
            os.close(memory)
            raise
        return Template(memory, state)

    async def _converted(self, parent: Domain, whole: int, memory: int) -> int:
        """A clone's RAM is no file that others could map: load all of it into a machine that never runs, on `memory`, and
        keep the device state of that. Returns the new state; `whole` is closed."""
        log = self._log()
        machine = await Machine.start(
            parent.machine.shape, os.dup(memory), private=False, tap=await self._spare_tap(), mac=parent.machine.mac,
            log=log, incoming=True,
        )  # fmt: skip
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
            await machine.qmp_gone()
            machine.kill()
        os.close(whole)
        return state

    async def _spare_tap(self) -> int | None:
        self._number += 1
        name = f"x{self._number}"
        fd = await self._network.tap(name)
        await self._network.drop(name)  # QEMU's copy keeps it; it is never plugged
        return fd

    async def _load(self, parent: Domain, template: Template, key: int, vmid: int, ip: str) -> Domain:
        # A machine's network card was made with its master's MAC; the agent gives it its own.
        domain = await self._raise(
            key, vmid, parent.family, parent.machine.shape, ip, os.dup(template.memory), private=True, mac=parent.machine.mac
        )
        domain.template = template
        template.users += 1
        try:
            # Each needs a file offset of its own.
            state = os.open(f"/proc/self/fd/{template.state}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                await domain.machine.load(state, with_ram=False)
            finally:
                os.close(state)
        except BaseException:
            await self._discard(domain)
            raise
        return domain

    async def _release(self, domain: Domain, call: tuple[int, str] | None) -> None:
        channel = domain.channel
        try:
            await domain.machine.resume()
            await channel.ask("become", *_identity(domain.vmid, domain.family, domain.ip, _mac(domain.ip)))
            await self._network.plug(domain.tap)
            await channel.ask("keep", call[0] if call else 0)
            if call is not None:
                await channel.adopt(call[0], call[1], domain.vmid)
        except (MachineError, ChannelError, NetworkError) as error:
            print(f"gc: clone {domain.vmid} has failed: {error}", file=sys.stderr)
            domain.machine.process.kill()

    # --- any machine ---------------------------------------------------------------------------------------------------

    def _log(self) -> Path:
        self._number += 1
        return self.folder / f"machine{self._number}.log"

    async def _raise(
        self, key: int, vmid: int, family: str, shape: Shape, ip: str, memory: int, *, private: bool, mac: str
    ) -> Domain:
        log = self._log()
        tap = f"t{self._number}"
        try:
            tap_fd = await self._network.tap(tap)
        except BaseException:
            os.close(memory)
            raise
        try:
            machine = await Machine.start(shape, memory, private=private, tap=tap_fd, mac=mac, log=log, incoming=private)
        except BaseException:
            await self._network.drop(tap)
            raise
        finally:
            os.close(tap_fd)
        channel = Channel(
            machine.channel, self._host, f"as {family} {vmid} key={self._secret}",
            lambda stream, data: self._ears.output(key, stream, data),
            lambda stream, code: self._ears.exited(key, stream, code),
        )  # fmt: skip
        await channel.start()
        domain = Domain(key, vmid, family, machine, channel, ip, tap, private)
        self._domains[key] = domain
        return domain

    def _watch(self, domain: Domain) -> None:
        task = asyncio.create_task(self._until_end(domain))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_end(self, domain: Domain) -> None:
        code = await domain.machine.ended()
        await self._discard(domain)
        self._ears.ended(domain.key, code)

    async def _discard(self, domain: Domain) -> None:
        """Nothing of the machine is left."""
        if self._domains.pop(domain.key, None) is None:
            return
        domain.channel.close()
        await domain.machine.qmp_gone()
        domain.machine.kill()
        if domain.template is not None:
            domain.template.release()
        self._network.give_back(domain.ip)
        with contextlib.suppress(NetworkError):  # the helper is gone, and the tap with it
            await self._network.drop(domain.tap)

    def end(self, key: int) -> None:
        """End a machine; ears.ended follows. Unknown keys are ignored."""
        domain = self._domains.get(key)
        if domain is not None:
            domain.machine.process.kill()


def _check_memory(needed: int) -> None:
    free = ram.available()
    if needed > free:
        raise FamilyError(
            f"this needs about {needed >> 20} MiB of memory, and {free >> 20} MiB are free: "
            "fewer or smaller machines (--memory)"
        )
