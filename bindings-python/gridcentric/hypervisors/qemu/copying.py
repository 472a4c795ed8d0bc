"""Clones that are copies of their master's QEMU, made by the live clone (core/hypervisors/qemu/machine_copy): memory, devices
and the code that TCG has translated are shared copy-on-write, so that a clone does not translate all of its guest again. Not
for KVM, whose machines belong to one process. Knows machines; knows nothing of families.

    copy      the master stands still: one copy, in the milliseconds that a fork takes
    copies    more than one are copies of that one, the template, which never runs, while the master goes on; of several such
              templates when there are many, as each can be copied by one core only
    server      each copy fetches its own descriptors: monitor, agent, network card
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import secrets
import signal
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from gridcentric import _paths
from gridcentric.hypervisors.qemu.machine import Machine, MachineError, Ram, Seed, Shape
from gridcentric.hypervisors.qemu.process import Process
from gridcentric.hypervisors.qemu.streams import readable
from gridcentric.hypervisors.qemu.times import Times, timed

LIBRARY = _paths.LIB / "gridcentric" / "gc-machine-copy.so"
_REAPER = _paths.GC.with_name("gc-reaper")
_MOST_DESCRIPTORS = 253  # of one message (unix(7), SCM_RIGHTS)


class DescriptorServer:
    """Hands out descriptors: a copy comes by this socket, the one way that leads out of it before it has any."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind(str(path))
        self._listener.listen(1024)
        self._expected: dict[str, tuple[list[int], asyncio.Future[Process]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for task in self._tasks:
            task.cancel()

    @contextlib.contextmanager
    def expecting(self, token: str, bundles: list[list[int]]) -> Iterator[list[asyncio.Future[Process]]]:
        """The caller that presents the token as number K, from 1, gets bundle K, and the bundle's future the process."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Process]] = [loop.create_future() for _ in bundles]
        names = [f"{token} {number}" for number in range(1, len(bundles) + 1)]
        self._expected |= dict(zip(names, zip(bundles, futures)))
        try:
            yield futures
        except BaseException:
            for future in futures:
                if not future.done() or future.cancelled() or future.exception() is not None:
                    future.cancel()  # who comes now is turned away
                else:
                    future.result().close()
            raise
        finally:
            for name in names:
                self._expected.pop(name, None)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                task = asyncio.create_task(self._serve(connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            who = await asyncio.get_running_loop().sock_recv(connection, 256)
            pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            fds, future = self._expected.pop(who.decode(errors="replace"), ([], None))
            if future is None or future.done() or uid != os.geteuid():
                return
            with contextlib.suppress(OSError):  # it has ended: whoever made it notices
                process = Process(pid)
                socket.send_fds(connection, [b"yours"], fds)  # it is still there, so the number was its own
                future.set_result(process)


class _Loaded:
    """What makes a QEMU one that can be copied (machine.Preload)."""

    def __init__(self, server: Path, memory: int, command: int, lifeline: int) -> None:
        self._descriptors = server
        self._memory = memory
        self.fds = [command, lifeline]

    def environment(self, others: list[int]) -> dict[str, str]:
        told = [str(_REAPER), str(self._descriptors), str(self._memory), *map(str, self.fds), *map(str, others)]
        return {"LD_PRELOAD": str(LIBRARY), "GRIDCENTRIC_MACHINE_COPY": " ".join(told)}


class _Ends:
    """The three connections of a machine to be: this side's ends, and the machine's."""

    def __init__(self) -> None:
        self.monitor, monitor = socket.socketpair()
        self.channel, channel = socket.socketpair()
        self.command, command = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.command.setblocking(False)
        self.theirs = (command, monitor, channel)

    def handed_over(self) -> None:
        for end in self.theirs:
            end.close()

    def close(self) -> None:
        for end in (self.monitor, self.channel, self.command, *self.theirs):
            end.close()


class Copying:
    name = "copy"

    def __init__(self, folder: Path, spare_seed: Callable[[], Awaitable[Seed]]) -> None:
        """folder: for the server's socket. spare_seed: what a machine is made with that never runs; its tap is ours."""
        self._spare_seed = spare_seed
        self._path = folder / "copies.sock"
        self._descriptors = DescriptorServer(self._path)
        # The other end of it in no other process: when this one has ended, so have the copies.
        self._mine, self._lifeline = socket.socketpair()
        self._commands: dict[Machine, socket.socket] = {}

    def close(self) -> None:
        self._descriptors.close()
        self._mine.close()
        self._lifeline.close()

    def memory_needed(self, parent: Machine) -> int:
        """Bytes, beside those of each clone: what the parent and all of them share is there already."""
        return 0

    async def boot(self, shape: Shape, seed: Seed) -> Machine:
        command, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command.setblocking(False)
        with there:
            loaded = _Loaded(self._path, shape.memory, there.fileno(), self._lifeline.fileno())
            try:
                machine = await Machine.start(shape, Ram(), seed, preload=loaded)
            except BaseException:
                command.close()
                raise
        try:
            ready = command.recv(64) == b"ready"  # said before QEMU itself began
        except OSError:
            ready = False
        if not ready:
            said = machine.said()
            command.close()
            await machine.discard()
            raise MachineError(
                f"{LIBRARY} could not be loaded into QEMU ({said or 'no word of it'}): "
                "GRIDCENTRIC_MACHINE_CLONE=load does without"
            )
        self._can_be_copied(machine, command)
        return machine

    def _can_be_copied(self, machine: Machine, command: socket.socket) -> None:
        self._commands[machine] = command
        machine.at_end.append(lambda: self._commands.pop(machine).close())

    async def clone(
        self, parent: Machine, still: AbstractAsyncContextManager[None], seeds: list[Seed], times: Times
    ) -> list[Machine]:
        """Clones that stand still, all or none. The parent stands still within `still`."""
        if len(seeds) == 1:
            return await self._copies(parent, _copied(still, times), seeds)
        templates: list[Machine] = []
        try:
            templates += await self._template(parent, _copied(still, times))
            with timed(times, "load"):
                # Each costs as much as a clone.
                while len(templates) < min(os.cpu_count() or 1, math.isqrt(len(seeds))):
                    templates += await self._template(templates[0], contextlib.AsyncExitStack())
                return await self._shared_out(templates, seeds)
        finally:
            for template in templates:
                await template.discard()

    async def _template(self, of: Machine, still: AbstractAsyncContextManager[object]) -> list[Machine]:
        """One machine."""
        spare = await self._spare_seed()
        try:
            return await self._copies(of, still, [spare])
        finally:
            os.close(spare.tap)

    async def _shared_out(self, templates: list[Machine], seeds: list[Seed]) -> list[Machine]:
        """Copies of all templates side by side, in the order of the seeds, all or none."""
        many = len(templates)
        parts = [self._copies(of, contextlib.AsyncExitStack(), seeds[nth::many]) for nth, of in enumerate(templates)]
        results = await asyncio.gather(*parts, return_exceptions=True)
        made = [result for result in results if not isinstance(result, BaseException)]
        if len(made) < many:
            for machine in itertools.chain(*made):
                await machine.discard()
            raise next(result for result in results if isinstance(result, BaseException))
        return [made[nth % many][nth // many] for nth in range(len(seeds))]

    async def _copies(self, of: Machine, still: AbstractAsyncContextManager[object], seeds: list[Seed]) -> list[Machine]:
        ends = [_Ends() for _ in seeds]
        reapers: list[int] = []
        bundles = []
        for end, seed in zip(ends, seeds):
            command, monitor, channel = (their.fileno() for their in end.theirs)
            bundles.append([command, self._lifeline.fileno(), seed.tap, monitor, channel])
        token = secrets.token_hex(16)
        machines: list[Machine] = []
        processes: list[Process] = []
        try:
            with self._descriptors.expecting(token, bundles) as arrivals:
                async with still:
                    reapers += await self._ordered(of, token, len(seeds))
                processes = await _all_arrived(arrivals, reapers)
            for end in ends:
                end.handed_over()
            for end, seed, process in zip(ends, seeds, processes):
                machine = await Machine.adopt(of, seed, process, end.monitor, end.channel)
                self._can_be_copied(machine, end.command)
                machines.append(machine)
        except BaseException:
            _kill(reapers)
            for process in processes:
                process.close()
            for machine in machines:
                await machine.discard()
            for end in ends:
                end.close()
            raise
        finally:
            for reaper in reapers:
                os.close(reaper)
        return machines

    async def _ordered(self, of: Machine, token: str, count: int) -> list[int]:
        """The copies are made when this returns: pidfds of their reapers."""
        command = self._commands[of]
        reapers: list[int] = []
        try:
            command.send(f"copy {token} {count}".encode())
            while True:
                await readable(command.fileno())
                data, fds, _, _ = socket.recv_fds(command, 4096, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
                reapers += fds
                verdict, _, text = data.decode(errors="replace").partition(" ")
                if verdict == "ok":
                    return reapers
                if verdict != "pidfds":
                    raise MachineError(f"its QEMU could not be copied: {text or of.said() or 'it is gone'}")
        except BaseException as error:
            _kill(reapers)
            for reaper in reapers:
                os.close(reaper)
            if isinstance(error, OSError):
                raise MachineError(f"QEMU is gone: {of.said() or error}") from error
            raise


def _kill(reapers: list[int]) -> None:
    """And with each the copy that it watches."""
    for reaper in reapers:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(reaper, signal.SIGKILL)


@contextlib.asynccontextmanager
async def _copied(still: AbstractAsyncContextManager[object], times: Times) -> AsyncIterator[None]:
    async with still:
        with timed(times, "copy"):
            yield


async def _all_arrived(arrivals: list[asyncio.Future[Process]], reapers: list[int]) -> list[Process]:
    """The processes; raises MachineError when one has ended before it came."""
    loop = asyncio.get_running_loop()

    def ended(number: int) -> None:
        loop.remove_reader(reapers[number])
        if not arrivals[number].done():
            arrivals[number].set_exception(MachineError(f"copy {number + 1} of {len(arrivals)} has ended as it was made"))

    for number, reaper in enumerate(reapers):
        loop.add_reader(reaper, ended, number)
    try:
        results = await asyncio.gather(*arrivals, return_exceptions=True)
    finally:
        for reaper in reapers:
            loop.remove_reader(reaper)
    for result in results:
        if isinstance(result, BaseException):
            for other in results:
                if isinstance(other, Process):
                    other.close()
            raise result
    return [result for result in results if isinstance(result, Process)]
