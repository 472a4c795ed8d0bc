"""Machines that are cloned: freezing one into a template, raising clones from it, all or none. Knows machines, RAM, the
network and the agent's channel; knows nothing of the host's calls (driver.py) or of how a program is started (run.py).

The sequence (docs/qemu.md has the picture):

    quiesce   the agent freezes all programs of the machine and says nothing more: no message is under way in two machines
    stop      the master stands still
    save      its device state, into a memfd
    template  its RAM is copied; a clone's private RAM is first written out whole and loaded into a machine that never
              runs, whose RAM becomes the template
    cont, go  the master goes on: what was between is its pause
    load      N machines on the template, copy-on-write, with the device state; all are loaded before any goes on
    become    each is told who it is and makes itself that, its programs still frozen; then it is plugged into the network
    go        its programs go on
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gridcentric.hypervisors.qemu import ram
from gridcentric.hypervisors.qemu.channel import Channel, ChannelError
from gridcentric.hypervisors.qemu.machine import Machine, MachineError, Shape
from gridcentric.hypervisors.qemu.network import Network, NetworkError
from gridcentric.hypervisors.qemu.times import Times, timed

# What a clone may take beyond the template's pages before it counts as not fitting: QEMU's own and its first writes.
CLONE_NEEDS = 48 << 20
FINISH_LIMIT_S = 2  # docs/protocol.md, "Cloning": a domain that has joined has this long


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


def _identity(vmid: int, parent: int, family: str, ip: str, mac: str) -> tuple[object, ...]:
    name = "master" if vmid == 0 else f"clone{vmid}"
    generator = secrets.token_hex(64)
    return (vmid, parent, family, ip, Network.PREFIX, mac, "-", name, uuid.uuid4().hex, time.time_ns(), generator)


def _mac(ip: str) -> str:
    """Made of the address, so that it is as unique: 52:54 and its four bytes."""
    return "52:54:" + ":".join(f"{int(part):02x}" for part in ip.split("."))


class Machines:
    """All machines of one host. All methods belong to one asyncio loop."""

    def __init__(self, folder: Path, host: str, secret: str, ears: Ears) -> None:
        self.folder = folder  # for logs, of this process alone
        self.pauses: deque[Times] = deque(maxlen=1000)  # of the last clonings
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

    async def close(self) -> None:
        """End all machines; nobody hears of it."""
        self._ears = replace(self._ears, ended=lambda key, code: None)
        for domain in self.all():
            domain.machine.process.kill()
        await asyncio.gather(*self._tasks)
        for domain in self.all():  # those that were being made
            await self._discard(domain)
        self._network.close()

    @property
    def network(self) -> Network:
        return self._network

    def get(self, key: int) -> Domain | None:
        return self._domains.get(key)

    def all(self) -> list[Domain]:
        """All machines that are there, also those that are being made. From any thread."""
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
            await domain.channel.ask("become", *_identity(0, -1, family, ip, domain.machine.mac), 0)
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
        times = Times()
        with timed(times, "total"):
            await self._clone(parent_key, ticket, clones, commit, times)
        domain = self._domains.get(parent_key)
        self.pauses.append(times)
        times.trace(-1 if domain is None else domain.vmid, len(clones))

    async def _clone(
        self,
        parent_key: int,
        ticket: str,
        clones: list[tuple[int, int, str]],
        commit: Callable[[], Awaitable[None]],
        times: Times,
    ) -> None:
        parent = self._domains.get(parent_key)
        if parent is None:
            raise FamilyError("the machine to be cloned is gone")
        call = parent.channel.clone_call(ticket)
        # Not to be cut short: half a cloning would leave a master that stands still. A cancellation is heeded when it is done.
        making = asyncio.ensure_future(self._make(parent, clones, times))
        try:
            made = await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.wait([making])
            for domain in making.result() if making.exception() is None else []:
                await self._discard(domain)
            raise
        await commit()
        for domain in made:
            self.on_clone(domain.key)
            self._watch(domain)
        with timed(times, "release"):
            await asyncio.gather(*(self._release(domain, parent.vmid, call) for domain in made))

    async def _make(self, parent: Domain, clones: list[tuple[int, int, str]], times: Times) -> list[Domain]:
        """The clones, loaded and standing still; all or none."""
        _check_memory(ram.used(parent.machine.ram) + parent.machine.shape.memory // 4 + CLONE_NEEDS * len(clones))
        async with parent.busy:
            try:
                template = await self._freeze(parent, times)
            except (MachineError, ChannelError, NetworkError, OSError) as error:
                raise FamilyError(f"the machine could not be frozen: {error}") from error
        template.users += 1  # this function's
        try:
            with timed(times, "load"):
                loads = [self._load(parent, template, *clone) for clone in clones]
                results = await asyncio.gather(*loads, return_exceptions=True)
        finally:
            template.release()
        errors = [result for result in results if isinstance(result, BaseException)]
        made = [result for result in results if isinstance(result, Domain)]
        if not errors:
            return made
        for domain in made:
            await self._discard(domain)
        if isinstance(errors[0], (MachineError, ChannelError, NetworkError, OSError)):
            raise FamilyError(f"a clone could not be made: {errors[0]}") from errors[0]
        raise errors[0]

    async def _freeze(self, parent: Domain, times: Times) -> Template:
        machine, size = parent.machine, parent.machine.shape.memory
        state, memory = ram.create(0), ram.create(size)
        try:
            if not parent.private:
                ram.populate(machine.ram, memory, size)
            with timed(times, "frozen"):
                with timed(times, "quiesce"):
                    await parent.channel.quiesce()
                try:
                    with timed(times, "pause"):
                        await self._save(parent, state, memory, times)
                finally:
                    await parent.channel.go()
            if parent.private:
                with timed(times, "convert"):
                    state = await self._converted(parent, state, memory)
        except BaseException:
            os.close(state)
            os.close(memory)
            raise
        return Template(memory, state)

    async def _save(self, parent: Domain, state: int, memory: int, times: Times) -> None:
        machine = parent.machine
        await machine.stop()
        try:
            with timed(times, "save"):
                await machine.save(state, with_ram=parent.private)
            if not parent.private:
                with timed(times, "copy"):
                    ram.copy(machine.ram, memory, machine.shape.memory)
        finally:
            await machine.resume()

    async def _converted(self, parent: Domain, whole: int, memory: int) -> int:
        """A clone's RAM is no file that others could map: load all of it into a machine that never runs, on `memory`, and
        keep the device state of that. Returns the new state; `whole` is closed."""
        tap = await self._spare_tap()
        try:
            machine = await Machine.start(
                parent.machine.shape, os.dup(memory), private=False, tap=tap, mac=parent.machine.mac, log=self._log(),
                incoming=True,
            )  # fmt: skip
        finally:
            os.close(tap)
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

    async def _spare_tap(self) -> int:
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

    async def _release(self, domain: Domain, parent: int, call: tuple[int, str] | None) -> None:
        channel, mac = domain.channel, _mac(domain.ip)
        try:
            await domain.machine.resume()
            kept = call[0] if call else 0
            await channel.ask("become", *_identity(domain.vmid, parent, domain.family, domain.ip, mac), kept)
            await self._network.plug(domain.tap)
            if call is not None:
                await channel.adopt(call[0], call[1], domain.vmid)
            await channel.go()
        except (MachineError, ChannelError, NetworkError) as error:
            if domain.key in self._domains:  # not ended meanwhile
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

    async def finish(self, key: int) -> None:
        """End a machine whose program has said its last word; what it has written before is heard."""
        domain = self._domains.get(key)
        if domain is None:
            return
        with contextlib.suppress(ChannelError, asyncio.TimeoutError):
            await asyncio.wait_for(domain.channel.ask("finish"), FINISH_LIMIT_S)
        self.end(key)

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
