"""gc run --hypervisor qemu: a private host, a machine, and a program in it. The program's family ends with this process."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import signal
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gridcentric import _host
from gridcentric.hypervisors.qemu import images
from gridcentric.hypervisors.qemu.driver import QemuDriver
from gridcentric.hypervisors.qemu.family import Domain, Ears, Machines
from gridcentric.hypervisors.qemu.machine import Shape, accelerator
from gridcentric.hypervisors.qemu.network import NetworkError

PROGRAM = 1  # the stream of the program; 2 and up: copies
COPY = 2


@dataclass(frozen=True)
class Publish:
    """A port of this machine that leads to one of the master."""

    here: int
    there: int


@dataclass(frozen=True)
class Wish:
    """What the user asked for on the command line."""

    command: list[str]
    image: str = images.DEFAULT
    memory_mib: int = 256
    cpus: int = 1
    tickets: int = 0  # CPUs offered to tickets; 0: the host's default
    publish: tuple[Publish, ...] = ()
    copy: tuple[tuple[Path, str], ...] = ()


class RunError(Exception):
    """The program could not be run; the text says why."""


def _tar(source: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(source, "." if source.is_dir() else source.name)
    return packed.getvalue()


class Run:
    def __init__(self, wish: Wish, progress: Callable[[str], None]) -> None:
        self._wish = wish
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._master = 0
        self._code: int | None = None
        self._living: set[int] = set()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._copies: dict[int, asyncio.Future[int]] = {}
        self._speaker: asyncio.StreamWriter

    async def __call__(self) -> int:
        """Returns the exit code of the program in the master, when the whole family has ended."""
        wish = self._wish
        image = await self._loop.run_in_executor(None, images.ensure, wish.image, self._progress)
        shape = Shape(image, wish.memory_mib, wish.cpus)
        with tempfile.TemporaryDirectory(prefix="gridcentric-") as name:
            folder = Path(name)
            secret = secrets.token_hex(16)
            socket = f"{folder}/host.sock"
            self._machines = Machines(folder, socket, secret, Ears(self._output, self._exited, self._ended))
            await self._machines.start()
            self._driver = QemuDriver(self._loop, self._machines)
            host = _HostThread(self._driver, socket, wish.tickets, secret)
            try:
                await host.ready(self._loop)
                return await self._family(shape, socket)
            finally:
                self._machines.close()
                host.stop()

    async def _family(self, shape: Shape, socket: str) -> int:
        address = self._machines.reserve_address()
        self._driver.expect(os.getpid(), address)
        # This connection speaks for the master to the host as long as this process lives.
        reader, self._speaker = await asyncio.open_unix_connection(socket)
        self._speaker.write(b"gridcentric/1 attach\n")
        hello = (await reader.readline()).decode().split(" ")
        if hello[1:2] != ["ok"]:
            raise RunError(" ".join(hello[3:]).strip() or "the host ended")
        self._master = self._driver.adopted[os.getpid()]
        self._progress(f"booting {shape.image.name} ({accelerator().name}: {accelerator().why})")
        domain = await self._machines.boot(self._master, hello[2], shape, address)
        self._living.add(self._master)
        self._machines.on_clone = self._living.add
        for number, (source, target) in enumerate(self._wish.copy):
            await self._copy(domain, COPY + number, source, target)
        servers = [await self._serve(publish, address) for publish in self._wish.publish]
        self._progress(f"running {' '.join(self._wish.command)}")
        domain.channel.run(PROGRAM, "/root", self._wish.command)
        self._forward_input(domain)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._end_all, number)
        await self._over
        for server in servers:
            server.close()
        return 1 if self._code is None else self._code

    def _end_all(self, number: int) -> None:
        self._code = 128 + number
        for key in list(self._living):
            self._machines.end(key)

    # --- files, ports, input ---------------------------------------------------------------------------------------

    async def _copy(self, domain: Domain, stream: int, source: Path, target: str) -> None:
        done = self._copies[stream] = self._loop.create_future()
        folder = target if source.is_dir() else str(Path(target).parent)
        name = "" if source.is_dir() else Path(target).name
        rename = [] if source.is_dir() else ["--transform", f"s,.*,{name},"]
        script = 'mkdir -p "$0" && exec tar -C "$0" -x "$@"'
        domain.channel.run(stream, "/", ["sh", "-c", script, folder, *rename])
        packed = await self._loop.run_in_executor(None, _tar, source)
        domain.channel.write(stream, packed)
        domain.channel.write(stream, b"")
        code = await done
        if code != 0:
            raise RunError(f"--copy {source}:{target}: tar in the machine ended with {code}")

    async def _serve(self, publish: Publish, address: str) -> asyncio.Server:
        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there = await self._machines.network.connect(address, publish.there)
                far_reader, far_writer = await asyncio.open_connection(sock=there)
            except (NetworkError, OSError):
                writer.close()
                return
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

        try:
            return await asyncio.start_server(carry, "127.0.0.1", publish.here)
        except OSError as error:
            raise RunError(f"--publish {publish.here}:{publish.there}: {error.strerror or error}") from error

    def _forward_input(self, domain: Domain) -> None:
        def readable() -> None:
            data = os.read(0, 32768)
            domain.channel.write(PROGRAM, data)
            if not data:
                self._loop.remove_reader(0)

        try:
            self._loop.add_reader(0, readable)
        except (OSError, ValueError):  # a file or nothing: taken whole
            domain.channel.write(PROGRAM, sys.stdin.buffer.read() if sys.stdin else b"")
            domain.channel.write(PROGRAM, b"")

    # --- what the machines say ------------------------------------------------------------------------------------------

    def _output(self, key: int, stream: int, data: bytes) -> None:
        target = sys.stdout.buffer if stream == PROGRAM else sys.stderr.buffer
        target.write(data)
        target.flush()

    def _exited(self, key: int, stream: int, code: int) -> None:
        if stream != PROGRAM:
            copy = self._copies.get(stream)
            if copy is not None and not copy.done():
                copy.set_result(code)
            return
        if key == self._master:
            self._code = code
            # A normal end: the clones may finish their work. One by a signal ends the family.
            if code <= 128:
                self._speaker.write(b"1 bye\n")
        self._driver.machine_exits(key, code)
        self._loop.call_soon(self._machines.end, key)

    def _ended(self, key: int, code: int) -> None:
        self._driver.machine_ended(key, code)
        self._living.discard(key)
        if not self._living and not self._over.done():
            self._over.set_result(None)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


class _HostThread:
    """A host of this process alone, on a thread of its own."""

    def __init__(self, driver: QemuDriver, socket: str, cpus: int, secret: str) -> None:
        self._arguments = (driver, socket, cpus, secret)
        self._stop: Callable[[], None] | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="gc-host", daemon=True)
        self._ready = threading.Event()

    def _run(self) -> None:
        try:
            _host.run_host(*self._arguments, on_ready=self._listening)
        except RuntimeError as error:
            self._error = error
        self._ready.set()

    def _listening(self, path: str, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._ready.set()

    async def ready(self, loop: asyncio.AbstractEventLoop) -> None:
        self._thread.start()
        await loop.run_in_executor(None, self._ready.wait)
        if self._error is not None:
            raise RunError(str(self._error))

    def stop(self) -> None:
        if self._stop is not None:
            self._stop()
        self._thread.join()


def run(wish: Wish, progress: Callable[[str], None]) -> int:
    """Raises RunError, ImageError, MachineError, NetworkError, FamilyError: their texts are for the user."""

    async def main() -> int:
        return await Run(wish, progress)()

    return asyncio.run(main())
