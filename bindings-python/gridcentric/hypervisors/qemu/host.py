"""A host of machines in this process: the host itself (on a thread), the driver and the machines (in an asyncio loop), and
which machine belongs to which program. Knows nothing of what programs are (run.py) or who asked for them (shared_host.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gridcentric import _host
from gridcentric.hypervisors.qemu.driver import QemuDriver
from gridcentric.hypervisors.qemu.family import Machines
from gridcentric.hypervisors.qemu.machine import Shape
from gridcentric.hypervisors.qemu.machine_domain import MachineDomain, MachineEvents


class HostError(Exception):
    """The host can't start, or refuses; the text says why."""


class Program(Protocol):
    """The receiver of events about a family's machines."""

    async def output(self, key: int, stream: int, data: bytes, errors: bool) -> None:
        """A program has written; errors: to its standard error, if that was asked for apart."""

    def exited(self, key: int, stream: int, code: int) -> None:
        """A program in the machine has ended; the machine itself lives on until it is ended."""

    def joined(self, key: int) -> None:
        """There is a new machine, a clone."""

    def ended(self, key: int, code: int) -> None: ...


@dataclass
class Master:
    """A family that has been registered with the host; its machine is yet to be booted."""

    key: int
    family: str
    address: str
    driver: QemuDriver

    async def say_bye(self) -> None:
        """It will end normally: its clones may finish their work. The host knows when this returns."""
        with contextlib.suppress(RuntimeError):  # the host has ended
            await self.driver.bye(self.key)


class MachineHost:
    """All methods belong to one asyncio loop."""

    def __init__(self, folder: Path, socket: str, cpus: int, control: bool = False, outside: bool = False) -> None:
        """folder: of this process alone. socket: where guests find the host. cpus: for tickets, 0: the default.
        control: tests may look into it (docs/protocol.md, "Control"). outside: its machines reach what this machine reaches."""
        self.socket = socket
        self._secret = secrets.token_hex(16)
        self._programs: dict[str, Program] = {}  # by family
        self._owners: dict[int, Program] = {}  # by machine
        self._loop = asyncio.get_running_loop()
        events = MachineEvents(self._output, self._exited, self._ended)
        self._driver = self._begin(folder, socket, self._secret, events, outside)
        self.machines.on_clone = self._cloned
        self._thread = _HostThread(self._driver, socket, cpus, self._secret, control)

    def _begin(self, folder: Path, socket: str, secret: str, events: MachineEvents, outside: bool) -> QemuDriver:
        """Set `machines`; their driver."""
        self.machines = Machines(folder, socket, secret, events, outside)
        return QemuDriver(self._loop, self.machines)

    async def start(self) -> None:
        """Raises HostError, NetworkError."""
        await self.machines.start()
        try:
            await self._thread.ready(self._loop)
        except BaseException:
            await self.machines.close()
            raise

    async def close(self) -> None:
        """Nothing of any machine is left."""
        await self.machines.close()
        self._thread.stop()

    # --- families -----------------------------------------------------------------------------------------------------

    async def new_family(self, program: Program, name: str, on_exit: str) -> Master:
        """Register a master; on_exit: "", "end" or "keep" (docs/contracts.md). Raises HostError, NetworkError."""
        address = self.machines.reserve_address()
        shown = name.encode(errors="replace")[:64].decode(errors="ignore")
        try:
            key, family = await self._driver.new_family(address, shown, on_exit)
        except RuntimeError as error:
            self.machines.network.give_back(address)
            raise HostError(f"the host at {self.socket} is gone: {error}") from error
        except BaseException:
            self.machines.network.give_back(address)
            raise
        self._programs[family] = self._owners[key] = program
        return Master(key, family, address, self._driver)

    async def boot(self, master: Master, shape: Shape) -> MachineDomain:
        """Raises FamilyError, MachineError, NetworkError; the family has ended then."""
        try:
            return await self.machines.boot(master.key, master.family, shape, master.address)
        except BaseException:
            self.machines.network.give_back(master.address)
            self._ended(master.key, -9)
            raise

    def forget(self, master: Master) -> None:
        """All its machines have ended."""
        self._programs.pop(master.family, None)
        self._owners.pop(master.key, None)

    # --- what machines say ----------------------------------------------------------------------------------------------

    async def _output(self, key: int, stream: int, data: bytes, errors: bool) -> None:
        owner = self._owners.get(key)
        if owner is not None:
            await owner.output(key, stream, data, errors)

    def _exited(self, key: int, stream: int, code: int) -> None:
        owner = self._owners.get(key)
        if owner is not None:
            owner.exited(key, stream, code)

    def program_ended(self, key: int, code: int) -> None:
        """The machine's program has ended, and so does the machine. The exit code is the program's."""
        self._driver.machine_exits(key, code)
        self._loop.call_soon(self.machines.end, key)

    def _cloned(self, key: int) -> None:
        domain = self.machines.get(key)
        owner = self._programs.get(domain.family) if domain is not None else None
        if owner is not None:
            self._owners[key] = owner
            owner.joined(key)

    def _ended(self, key: int, code: int) -> None:
        self._driver.machine_ended(key, code)
        owner = self._owners.pop(key, None)
        if owner is not None:
            owner.ended(key, code)


class _HostThread:
    """gridcentric._host on its own thread."""

    def __init__(self, driver: QemuDriver, socket: str, cpus: int, secret: str, control: bool) -> None:
        self._arguments = (driver, socket, cpus, secret, control)
        self._stop: Callable[[], None] | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="gc-host", daemon=True)
        self._ready = threading.Event()

    def _run(self) -> None:
        try:
            _host.run_host(*self._arguments, on_ready=self._listening)
        except Exception as error:  # also that a number does not fit: whoever waits is told
            self._error = error
        self._ready.set()

    def _listening(self, path: str, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._ready.set()

    async def ready(self, loop: asyncio.AbstractEventLoop) -> None:
        self._thread.start()
        await loop.run_in_executor(None, self._ready.wait)
        if self._error is not None:
            raise HostError(str(self._error))

    def stop(self) -> None:
        if self._stop is not None:
            self._stop()
        self._thread.join()
