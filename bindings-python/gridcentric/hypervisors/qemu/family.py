"""Machines that are cloned: a family's, their network and what their agents are told, all clones or none. How a machine
is made from another is a method's business (copying.py, loading.py). Knows nothing of the host's calls (driver.py) or of how a
program is started (run.py).

The sequence (docs/qemu.md has the picture):

    quiesce   the agent freezes all programs of the machine and says nothing more: no message is under way in two machines
    stop      the master stands still: the method takes what it needs
    cont, go  the master goes on: what was between is its pause
    make      the method makes N machines; all are made before any goes on
    become    each is told who it is and makes itself that, its programs still frozen; then it is plugged into the network
    go        its programs go on
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from gridcentric.hypervisors.qemu import ram
from gridcentric.hypervisors.qemu.channel import Channel, ChannelError
from gridcentric.hypervisors.qemu.copying import LIBRARY, Copying
from gridcentric.hypervisors.qemu.disk import DiskError
from gridcentric.hypervisors.qemu.loading import Loading
from gridcentric.hypervisors.qemu.machine import Machine, MachineError, Seed, Shape, accelerator
from gridcentric.hypervisors.qemu.machine_domain import MachineDomain, MachineEvents
from gridcentric.hypervisors.qemu.network import Network, NetworkError
from gridcentric.hypervisors.qemu.pool import Pools, Prepared, limit_here
from gridcentric.hypervisors.qemu.times import Times, timed
from gridcentric.hypervisors.qemu.user_messages import tell

FINISH_LIMIT_S = 2  # docs/protocol.md, "Cloning": a domain that has joined has this long


class FamilyError(Exception):
    """No machine came of it; the text says why, and nothing is left of what was begun."""


class Method(Protocol):
    """How machines are made from one that runs."""

    name: str

    def close(self) -> None: ...

    def memory_needed(self, parent: Machine) -> int: ...

    async def boot(self, shape: Shape, seed: Seed) -> Machine: ...

    async def clone(
        self, parent: Machine, still: contextlib.AbstractAsyncContextManager[None], seeds: list[Seed], times: Times
    ) -> list[Machine]: ...


def method_here() -> str:
    """The method's name: that of GRIDCENTRIC_MACHINE_CLONE, or "copy" where that works. Raises FamilyError."""
    asked = os.environ.get("GRIDCENTRIC_MACHINE_CLONE", "")
    if asked not in ("", Copying.name, Loading.name):
        raise FamilyError(f"GRIDCENTRIC_MACHINE_CLONE={asked}: expected {Copying.name} or {Loading.name}")
    if accelerator().name == "tcg" and LIBRARY.exists():
        return asked or Copying.name
    if asked == Copying.name:
        raise FamilyError(f"GRIDCENTRIC_MACHINE_CLONE={asked}: only machines under TCG can be copied, and only with {LIBRARY}")
    return Loading.name


def _identity(vmid: int, parent: int, family: str, ip: str, mac: str, way_out: tuple[str, str]) -> tuple[object, ...]:
    name = "master" if vmid == 0 else f"clone{vmid}"
    generator = secrets.token_hex(64)
    return (vmid, parent, family, ip, Network.PREFIX, mac, *way_out, name, uuid.uuid4().hex, time.time_ns(), generator)


def _mac(ip: str) -> str:
    """Made of the address, so that it is as unique: 52:54 and its four bytes."""
    return "52:54:" + ":".join(f"{int(part):02x}" for part in ip.split("."))


class Machines:
    """All machines of one host. All methods belong to one asyncio loop."""

    def __init__(self, folder: Path, host: str, secret: str, events: MachineEvents, outside: bool = False) -> None:
        self.folder = folder  # of this process alone
        self.pauses: deque[Times] = deque(maxlen=1000)  # of the last clonings
        self.on_clone: Callable[[int], object] = lambda key: None  # a clone lives, by its key
        self._host = host
        self._secret = secret
        self._events = events
        self._network = Network(outside)
        self._loading = Loading(self._spare_seed)
        self._method: Method
        self._pools: Pools
        self._domains: dict[int, MachineDomain] = {}
        self._booting: set[int] = set()  # masters that have no domain yet, and are not to be ended as soon as they have
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0

    async def start(self) -> None:
        """Raises FamilyError, NetworkError."""
        try:
            self._pools = Pools(limit_here(), self._loading.memory_needed, self._seed, self._network.drop)
        except ValueError as error:
            raise FamilyError(str(error)) from error
        if method_here() == Copying.name:
            self._method = Copying(self.folder, self._spare_seed)
        else:
            self._method = self._loading
        try:
            await self._network.start()
        except BaseException:
            self._method.close()
            raise

    async def close(self) -> None:
        """End all machines; nobody hears of it."""
        self._events = replace(self._events, ended=lambda key, code: None)
        for domain in self.all():
            domain.machine.process.kill()
        await asyncio.gather(*self._tasks)
        for domain in self.all():  # those that were being made
            await self._discard(domain)
        await self._pools.close()
        self._method.close()
        self._network.close()

    def _method_for(self, shape: Shape) -> Method:
        """A copy of a QEMU would write to its master's disk."""
        return self._loading if shape.disk else self._method

    @property
    def network(self) -> Network:
        return self._network

    def get(self, key: int) -> MachineDomain | None:
        return self._domains.get(key)

    def all(self) -> list[MachineDomain]:
        """All machines that are there, also those that are being made. From any thread."""
        return list(self._domains.values())

    def reserve_address(self) -> str:
        return self._network.address()

    # --- a master --------------------------------------------------------------------------------------------------

    async def boot(self, key: int, family: str, shape: Shape, ip: str) -> MachineDomain:
        """Boot a machine; returns when its agent has brought it up and it is on the network."""
        _check_memory(shape.memory + ram.CLONE_NEEDS)
        self._booting.add(key)
        try:
            return await self._boot(key, family, shape, ip)
        finally:
            self._booting.discard(key)

    async def _boot(self, key: int, family: str, shape: Shape, ip: str) -> MachineDomain:
        tap, seed = await self._seed(_mac(ip))
        try:
            machine = await self._method_for(shape).boot(shape, seed)
        except BaseException as error:
            await self._network.drop(tap)
            if isinstance(error, DiskError):
                raise FamilyError(str(error)) from error
            raise
        finally:
            os.close(seed.tap)
        domain = await self._add(key, 0, family, machine, ip, tap)
        if key not in self._booting:
            domain.machine.process.kill()
        try:
            await domain.channel.up
            await domain.channel.ask("become", *_identity(0, -1, family, ip, domain.machine.mac, self._network.way_out), 0)
            await self._network.plug(domain.tap, ip, domain.machine.mac)
        except (ChannelError, NetworkError) as error:
            said = domain.machine.console.why_it_ended()
            await self._discard(domain)
            raise FamilyError(f"the machine did not come up: {error}; its console: {said}") from error
        self._watch(domain)
        return domain

    async def expect(self, key: int, clones: int) -> None:
        """A hint: this many clones of the machine may be requested. Ignored where clones need nothing prepared, nor for
        machines with a disk: the layer that a clone's disk is put on is there only when its master stands still."""
        domain = self._domains.get(key)
        if domain is not None and not domain.machine.shape.disk and self._method is self._loading:
            self._pools.expect(domain.machine, clones)

    async def waiting(self, key: int) -> list[Machine]:
        """The machines that are prepared for clones of this one, as soon as all are there that will be; for tests and
        measurements."""
        await self._pools.settled()
        domain = self._domains.get(key)
        return self._pools.waiting(domain.machine) if domain is not None else []

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
        # Taken before anything is waited for: the next hint may be about other clones already.
        prepared = self._pools.take(parent.machine, len(clones))
        # Not to be cut short: half a cloning would leave a master that stands still. A cancellation is heeded when it is done.
        making = asyncio.ensure_future(self._make(parent, clones, times, prepared))
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

    async def _make(
        self, parent: MachineDomain, clones: list[tuple[int, int, str]], times: Times, prepared: Prepared | None = None
    ) -> list[MachineDomain]:
        """The clones, made and standing still; all or none. What is prepared is used up."""
        method = self._method_for(parent.machine.shape)
        waiting = prepared.waiting if prepared is not None else []
        times.waited = len(waiting)
        taps: list[str] = []
        seeds: list[Seed] = []
        try:
            needed = method.memory_needed(parent.machine) + ram.CLONE_NEEDS * len(clones)
            _check_memory(needed - ram.WAITING_HAS * len(waiting))
            for _ in clones[len(waiting) :]:
                # A machine's network card was made with its master's MAC; the agent gives it its own.
                tap, seed = await self._seed(parent.machine.mac)
                taps.append(tap)
                seeds.append(seed)
            async with parent.busy:
                still = self._still(parent, times)
                if prepared is None:
                    machines = await method.clone(parent.machine, still, seeds, times)
                else:
                    machines = await self._loading.clone(parent.machine, still, seeds, times, prepared)
        except BaseException as error:
            await self._pools.discard(waiting)
            for tap in taps:
                with contextlib.suppress(NetworkError):
                    await self._network.drop(tap)
            if isinstance(error, (MachineError, ChannelError, NetworkError, OSError)):
                raise FamilyError(f"the machine could not be cloned: {error}") from error
            raise
        finally:
            for seed in seeds:
                os.close(seed.tap)
            if prepared is not None:
                os.close(prepared.memory)
        taps = [one.tap for one in waiting] + taps
        return [
            await self._add(key, vmid, parent.family, machine, ip, tap)
            for (key, vmid, ip), machine, tap in zip(clones, machines, taps)
        ]

    @contextlib.asynccontextmanager
    async def _still(self, domain: MachineDomain, times: Times) -> AsyncIterator[None]:
        """The machine stands still, with nothing under way."""
        with timed(times, "frozen"):
            with timed(times, "quiesce"):
                await domain.channel.quiesce()
            try:
                with timed(times, "pause"):
                    await domain.machine.stop()
                    try:
                        yield
                    finally:
                        await domain.machine.resume()
            finally:
                await domain.channel.go()

    async def _release(self, domain: MachineDomain, parent: int, call: tuple[int, str] | None) -> None:
        channel, mac = domain.channel, _mac(domain.ip)
        try:
            await domain.machine.resume()
            kept = call[0] if call else 0
            identity = _identity(domain.vmid, parent, domain.family, domain.ip, mac, self._network.way_out)
            await channel.ask("become", *identity, kept)
            await self._network.plug(domain.tap, domain.ip, mac)
            if call is not None:
                await channel.adopt(call[0], call[1], domain.vmid)
            await channel.go()
        except (MachineError, ChannelError, NetworkError) as error:
            if domain.key in self._domains:  # not ended meanwhile
                tell(f"clone {domain.vmid} has failed: {error}")
                domain.machine.process.kill()

    # --- any machine ---------------------------------------------------------------------------------------------------

    async def _seed(self, mac: str) -> tuple[str, Seed]:
        """A machine's tap, by its name, and what it is made with; the tap's descriptor is the caller's to close."""
        self._number += 1
        tap = f"t{self._number}"
        return tap, Seed(await self._network.tap(tap), mac)

    async def _spare_seed(self) -> Seed:
        tap, seed = await self._seed(_mac(Network.NOBODY))
        await self._network.drop(tap)  # QEMU's copy keeps it; it is never plugged
        return seed

    async def _add(self, key: int, vmid: int, family: str, machine: Machine, ip: str, tap: str) -> MachineDomain:
        channel = Channel(
            machine.channel, self._host, f"as {family} {vmid} key={self._secret}",
            lambda stream, data, errors: self._events.output(key, stream, data, errors),
            lambda stream, code: self._events.exited(key, stream, code),
        )  # fmt: skip
        await channel.start()
        domain = MachineDomain(key, vmid, family, machine, channel, ip, tap)
        self._domains[key] = domain
        return domain

    def _watch(self, domain: MachineDomain) -> None:
        task = asyncio.create_task(self._until_end(domain))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_end(self, domain: MachineDomain) -> None:
        code = await domain.machine.ended()
        await self._discard(domain)
        self._events.ended(domain.key, code)

    async def _discard(self, domain: MachineDomain) -> None:
        """Nothing of the machine is left."""
        if self._domains.pop(domain.key, None) is None:
            return
        self._pools.expect(domain.machine, 0)
        domain.channel.close()
        await domain.machine.discard()
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
        """End a machine; events.ended follows. Unknown keys are ignored."""
        self._booting.discard(key)
        domain = self._domains.get(key)
        if domain is not None:
            domain.machine.process.kill()


def _check_memory(needed: int) -> None:
    if short := ram.shortage(needed):
        raise FamilyError(short)
