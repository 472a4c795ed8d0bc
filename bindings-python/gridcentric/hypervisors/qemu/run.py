"""gc run --hypervisor qemu: one program in a machine, its clones, its input and output, files and ports, until all of them have
ended. Knows a MachineHost; does not know whether that is its own or shared with other programs (shared_host.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import signal
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from gridcentric.hypervisors.qemu import leftovers
from gridcentric.hypervisors.qemu.channel import Channel, ChannelError
from gridcentric.hypervisors.qemu.host import MachineHost, Master
from gridcentric.hypervisors.qemu.images import Image
from gridcentric.hypervisors.qemu.machine import Shape, accelerator
from gridcentric.hypervisors.qemu.machine_domain import MachineDomain
from gridcentric.hypervisors.qemu.network import NetworkError
from gridcentric.hypervisors.qemu.streams import Input, Output

PROGRAM = 1  # the stream of the program; 2 and up: helpers
PIECE = 256 << 10

_UNPACK = """
import os, sys, tarfile
os.makedirs(sys.argv[1], exist_ok=True)
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
    tar.extractall(sys.argv[1])
"""

# Until all that systemd starts at boot has been started; others can't be asked.
_UP = """
case $(readlink /proc/1/exe) in */systemd) ;; *) exit 0 ;; esac
until [ -S /run/systemd/private ]; do sleep 0.1; done
systemctl is-system-running --wait || systemctl --failed --plain --no-legend
"""


@dataclass(frozen=True)
class Publish:
    """A port of this machine that leads to one of the master."""

    here: int
    there: int


@dataclass(frozen=True)
class Wish:
    """What the user asked for on the command line."""

    command: list[str]
    image: Image
    memory_mib: int = 256
    cpus: int = 1
    publish: tuple[Publish, ...] = ()
    copy: tuple[tuple[Path, str], ...] = ()
    disk_mib: int = 0  # 0: none
    init: str = ""  # path of the image's own init system; "": none
    outside: bool = False  # the VMs reach what this machine reaches
    on_exit: str = ""  # what becomes of the clones when the master ends: "end", "keep" or as it is usual


class RunError(Exception):
    """The program could not be run; the text says why."""


def _packed(source: Path, target: str) -> Iterator[bytes]:
    """A tar of the file or folder, in pieces. A link stands for what it leads to when it is the one that was named."""
    source = source.resolve()
    folder = source.is_dir()
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as tar:  # knows the files that have several names
        for path in [source, *sorted(source.rglob("*"))] if folder else [source]:
            info = tar.gettarinfo(path, str(path.relative_to(source)) if folder else Path(target).name)
            if info is None:  # a socket
                continue
            yield info.tobuf(tar.format, tar.encoding or "utf-8", tar.errors or "surrogateescape")
            if info.isreg():
                yield from _content(path, info.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _content(path: Path, size: int) -> Iterator[bytes]:
    """Of a file, as many blocks as the tar says that it has."""
    left = size
    with path.open("rb") as file:
        while left:
            data = file.read(min(left, PIECE))
            if not data:
                raise OSError(f"{path} has become shorter")
            left -= len(data)
            yield data
    yield bytes(-size % tarfile.BLOCKSIZE)


class Run:
    """One program. Awaited once; all methods belong to one asyncio loop."""

    def __init__(self, host: MachineHost, wish: Wish, fds: tuple[int, int, int], progress: Callable[[str], None]) -> None:
        """fds: standard input, output and errors, of whoever asked; they stay the caller's."""
        self._host = host
        self._wish = wish
        self._input_fd = fds[0]
        self._out = Output(fds[1])
        # One terminal or file for both shows them in the order in which they were written.
        self._err = self._out if os.path.sameopenfile(fds[1], fds[2]) else Output(fds[2])
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._master: Master
        self._code: int | None = None
        self._ending = 0  # the signal that ends it
        self._living: set[int] = set()
        self._told: set[int] = set()  # of them, whose program has ended
        self._over = asyncio.Event()
        self._helpers: dict[int, _Helper] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._carried: set[asyncio.Task[None]] = set()  # connections to published ports

    async def __call__(self) -> int:
        """Returns the exit code of the program in the master, when the whole family has ended."""
        wish = self._wish
        if wish.outside and not self._host.machines.network.has_outside:
            raise RunError("--outside: this host's VMs have no way out: start it with gc host --hypervisor qemu --outside")
        async with contextlib.AsyncExitStack() as undo:
            published = []
            undo.callback(self._cut_all)
            for publish in wish.publish:  # before anything that takes long
                published.append((publish, await self._bind(publish)))
                undo.callback(published[-1][1].close)
            self._master = await self._host.new_family(self, " ".join(wish.command), wish.on_exit)
            undo.callback(self._host.forget, self._master)
            undo.push_async_callback(self._end_all)
            self._living.add(self._master.key)
            accel = accelerator()
            if self._host.machines.network.substitute:
                self._progress(f"the VMs' network is a slow one: {self._host.machines.network.substitute}")
            self._progress(f"booting {wish.image.name} ({accel.name}: {accel.why})")
            try:
                shape = Shape(wish.image, wish.memory_mib, wish.cpus, wish.disk_mib)
                domain = await self._host.boot(self._master, shape)
                self._check()
                for source, target in wish.copy:
                    await self._copy(domain, source, target)
                if wish.init:  # which may be told what to do by what was copied
                    await self._hand_over(domain, wish.init)
            except Exception:
                if self._ending:
                    return 128 + self._ending
                raise
            for publish, server in published:  # from here on there is somebody to answer
                with _told(publish):
                    await server.start_serving()
            self._progress(f"running {' '.join(wish.command)}")
            domain.channel.run(PROGRAM, "/root", wish.command, apart=self._err is not self._out)
            standard_input = Input(self._input_fd, partial(self._input, domain.channel))
            undo.callback(standard_input.close)
            await self._over.wait()
        if self._ending:
            return 128 + self._ending
        return 128 + signal.SIGKILL if self._code is None else self._code

    def end(self, number: int) -> None:
        """End the whole family, as a program ends by this signal."""
        self._ending = self._ending or number
        for key in list(self._living):
            self._host.machines.end(key)

    def _check(self) -> None:
        if self._ending:
            raise RunError("ended")

    async def _end_all(self) -> None:
        for key in list(self._living):
            self._host.machines.end(key)
        if self._living:
            await self._over.wait()

    async def _input(self, channel: Channel, data: bytes) -> None:
        channel.write(PROGRAM, data)
        await channel.room(PROGRAM)

    # --- files and ports -------------------------------------------------------------------------------------------

    def _help(self, domain: MachineDomain, command: list[str]) -> tuple[int, _Helper]:
        """Start a helper in the machine; its stream."""
        stream = PROGRAM + 1 + len(self._helpers)
        helper = self._helpers[stream] = _Helper(self._loop.create_future())
        domain.channel.run(stream, "/", command)
        return stream, helper

    async def _copy(self, domain: MachineDomain, source: Path, target: str) -> None:
        folder = target if source.is_dir() else str(Path(target).parent)
        stream, helper = self._help(domain, ["python3", "-c", _UNPACK, folder])
        try:
            pieces = _packed(source, target)
            while not helper.done.done():
                data = await self._loop.run_in_executor(None, next, pieces, None)
                if data is None:
                    break
                if data:  # nothing would be the end
                    domain.channel.write(stream, data)
                    await domain.channel.room(stream)
        except OSError as error:
            raise RunError(f"--copy {source}:{target}: {error}") from error
        domain.channel.write(stream, b"")
        code = await helper.done
        self._check()
        if code != 0:
            raise RunError(f"--copy {source}:{target}: {helper.lines[-1] if helper.lines else f'unpacking ended with {code}'}")

    async def _hand_over(self, domain: MachineDomain, init: str) -> None:
        try:
            await domain.channel.ask("init", quote(init))
        except ChannelError as error:
            raise RunError(f"--init {init}: {error}") from error
        self._progress(f"{init} starts what the image has")
        _, helper = self._help(domain, ["sh", "-c", _UP])
        await helper.done
        self._check()
        for line in helper.lines:
            if line != "running":
                self._progress(f"{init}: {line}")

    async def _bind(self, publish: Publish) -> asyncio.Server:
        def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._carry(publish, reader, writer))
            self._carried.add(task)
            task.add_done_callback(self._carried.discard)

        with _told(publish):
            return await asyncio.start_server(carry, "127.0.0.1", publish.here, start_serving=False)

    async def _carry(self, publish: Publish, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            there = await self._host.machines.network.connect(self._master.address, publish.there)
            far_reader, far_writer = await asyncio.open_connection(sock=there)
            writers.append(far_writer)
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        except (NetworkError, OSError):
            pass
        except asyncio.CancelledError:
            for end in writers:
                end.transport.abort()
            raise
        for end in writers:
            end.close()

    def _cut_all(self) -> None:
        """The machines are gone, and say so to nobody."""
        for task in self._carried:
            task.cancel()

    # --- what the machines say ---------------------------------------------------------------------------------------

    async def output(self, key: int, stream: int, data: bytes, errors: bool) -> None:
        if stream in self._helpers:
            self._helpers[stream].said = (self._helpers[stream].said + data)[-4096:]
            return
        try:
            await (self._err if errors else self._out).write(data)
        except OSError as error:
            if error.errno != errno.EPIPE and not self._ending:  # who reads no more knows that
                self._progress(f"standard {'error' if errors else 'output'}: {error.strerror}")
            self.end(signal.SIGPIPE)

    def exited(self, key: int, stream: int, code: int) -> None:
        if stream in self._helpers:
            self._helpers[stream].ended(code)
        elif stream == PROGRAM and key not in self._told:  # a guest may say it again
            self._told.add(key)
            task = asyncio.create_task(self._program_ended(key, code))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _program_ended(self, key: int, code: int) -> None:
        if key == self._master.key:
            self._code = code
            # A normal end: the clones may finish their work. Any other ends the family.
            if code == 0:
                await self._master.say_bye()
        self._host.program_ended(key, code)

    def joined(self, key: int) -> None:
        self._living.add(key)
        if self._ending:
            self._host.machines.end(key)

    def ended(self, key: int, code: int) -> None:
        self._living.discard(key)
        self._told.discard(key)
        for helper in self._helpers.values():
            helper.ended(128 + signal.SIGKILL)
        if not self._living:
            self._over.set()


class _Helper:
    """One of our programs in the machine."""

    def __init__(self, done: asyncio.Future[int]) -> None:
        self.done = done
        self.said = b""

    @property
    def lines(self) -> list[str]:
        """The last ones that it has written."""
        return self.said.decode(errors="replace").strip().splitlines()

    def ended(self, code: int) -> None:
        if not self.done.done():
            self.done.set_result(code)


@contextlib.contextmanager
def _told(publish: Publish) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise RunError(f"--publish {publish.here}:{publish.there}: port {publish.here} of 127.0.0.1: {reason}") from error


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


def run(wish: Wish, tickets: int, progress: Callable[[str], None], make: Callable[..., MachineHost] = MachineHost) -> int:
    """Run the program on its own host, which ends with it; tickets: CPUs offered to tickets, 0: the default.
    make: makes the host.

    Raises RunError, HostError, MachineError, NetworkError, FamilyError, OSError: their texts are for the user.
    """
    leftovers.remove_hosts()
    # In the background of a terminal the program has no input; the VMs must not stop because somebody types.
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)

    async def main(folder: Path) -> int:
        host = make(folder, f"{folder}/host.sock", tickets, outside=wish.outside)
        await host.start()
        try:
            program = Run(host, wish, (0, 1, 2), progress)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, program.end, number)
            return await program()
        finally:
            await host.close()

    with leftovers.host_folder() as folder:
        return asyncio.run(main(folder))
