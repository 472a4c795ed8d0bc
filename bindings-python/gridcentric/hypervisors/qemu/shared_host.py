"""A host of machines that programs share: `gc host --hypervisor qemu`, and how `gc run` asks one for a machine.

Beside the host's socket PATH there is PATH.run. Whoever starts a program there says, on a separate connection:

    gridcentric-run/1           with standard input, output and errors as descriptors (SCM_RIGHTS), all in one message
    {"command": [...], ...}     a line of JSON, the fields of a Wish
    signal NUMBER               end it as by this signal; the end of the connection is a SIGHUP

and hears: `say TEXT` (progress), and at last `exit CODE TEXT` (TEXT: why the program could not be run). The program's input and
output go through the descriptors and never through the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gridcentric import HostUnreachable, NotSupported
from gridcentric.hypervisors.qemu import images, leftovers
from gridcentric.hypervisors.qemu.family import FamilyError
from gridcentric.hypervisors.qemu.host import HostError, MachineHost
from gridcentric.hypervisors.qemu.machine import MachineError
from gridcentric.hypervisors.qemu.network import NetworkError
from gridcentric.hypervisors.qemu.run import Publish, Run, RunError, Wish
from gridcentric.hypervisors.qemu.streams import readable

HELLO = b"gridcentric-run/1\n"
MAX_LINE = 4 << 20  # more than a command line can have (execve(2))
TROUBLES = (images.ImageError, MachineError, NetworkError, FamilyError, HostError, RunError, OSError)


def exit_code(trouble: BaseException) -> int:
    """gc's exit code for one of TROUBLES: that something machines need is not available here, or any other."""
    return NotSupported.exit_code if isinstance(trouble, (MachineError, NetworkError)) else 1


def _to_json(wish: Wish) -> bytes:
    fields = {
        "command": wish.command,
        "image": wish.image.digest,
        "memory_mib": wish.memory_mib,
        "cpus": wish.cpus,
        "disk_mib": wish.disk_mib,
        "init": wish.init,
        "outside": wish.outside,
        "publish": [[p.here, p.there] for p in wish.publish],
        "copy": [[str(source.resolve()), target] for source, target in wish.copy],
        "on_exit": wish.on_exit,
    }
    return json.dumps(fields).encode() + b"\n"


def _from_json(line: bytes) -> Wish:
    try:
        fields: dict[str, Any] = json.loads(line)
        image = images.find(fields["image"])
        if image is None:
            raise RunError(f"this host has no image {fields['image']}: does it have another XDG_DATA_HOME?")
        return Wish(
            [str(word) for word in fields["command"]], image, int(fields["memory_mib"]), int(fields["cpus"]),
            tuple(Publish(int(here), int(there)) for here, there in fields["publish"]),
            tuple((Path(source), str(target)) for source, target in fields["copy"]), int(fields["disk_mib"]),
            str(fields["init"]), bool(fields["outside"]), str(fields["on_exit"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"the request can't be understood: {error!r}; are both of the same release?") from error


# --- the host's side ---------------------------------------------------------------------------------------------------


class RunServer:
    """Runs programs for whoever of this user asks. All methods belong to one asyncio loop."""

    def __init__(self, host: MachineHost, path: str) -> None:
        """Raises HostError when the socket can't be had."""
        self._host = host
        self._path = path
        self._runs: dict[asyncio.Task[None], Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(False)
        leftovers.remove_socket(path)  # of a dead host: a living one has the socket beside this
        before = os.umask(0o177)
        try:
            self._socket.bind(path)
        except OSError as error:
            self._socket.close()
            raise HostError(f"cannot listen on {path}: {error.strerror or error}") from error
        finally:
            os.umask(before)
        self._socket.listen(64)
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """All programs have ended when this returns."""
        self._accepting.cancel()
        self._socket.close()
        leftovers.remove_socket(self._path)
        for task in self._tasks:
            if task in self._runs:
                self._runs[task].end(signal.SIGTERM)
            else:  # somebody has come and said nothing, or does not read the last line
                task.cancel()
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._socket)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED):
                    raise
                await asyncio.sleep(0.1)  # until somebody's descriptors are free again
                continue
            task = asyncio.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        fds: list[int] = []
        try:
            _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid not in (0, os.geteuid()):
                return
            hello = await _receive(connection, fds)
            if hello != HELLO or len(fds) != 3:
                return  # somebody who looks for hosts (gc ps)
            reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_LINE)
            try:
                await self._run(reader, writer, (fds[0], fds[1], fds[2]))
            finally:
                writer.close()
            await writer.wait_closed()  # the last line has gone out
        except (OSError, ValueError):
            pass
        finally:
            for fd in fds:
                os.close(fd)
            connection.close()

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fds: tuple[int, int, int]) -> None:
        def say(text: str) -> None:
            for line in text.split("\n"):  # of a command, which may be a script
                writer.write(f"say {line}\n".encode(errors="backslashreplace"))

        try:
            run = Run(self._host, _from_json(await reader.readline()), fds, say)
        except RunError as error:
            writer.write(f"exit {NotSupported.exit_code} {error}\n".encode())
            return
        task = asyncio.current_task()
        assert task is not None
        self._runs[task] = run
        listening = asyncio.create_task(_signals(reader, run))
        try:
            writer.write(f"exit {await run()} \n".encode())
        except TROUBLES as error:
            writer.write(f"exit {exit_code(error)} {' / '.join(str(error).splitlines())}\n".encode())
        finally:
            del self._runs[task]
            listening.cancel()


async def _receive(connection: socket.socket, fds: list[int]) -> bytes:
    """One message; the descriptors with it are the caller's, also when this fails."""
    connection.setblocking(False)
    await readable(connection.fileno())
    data, received, _, _ = socket.recv_fds(connection, len(HELLO), 8)
    fds += received
    for fd in received:
        os.set_inheritable(fd, False)
    return data


async def _signals(reader: asyncio.StreamReader, run: Run) -> None:
    with contextlib.suppress(OSError, ValueError):
        while line := await reader.readline():
            verb, _, number = line.decode(errors="replace").strip().partition(" ")
            if verb == "signal" and number.isdigit() and 0 < int(number) < 65:
                run.end(int(number))
    run.end(signal.SIGHUP)


def serve(path: str, tickets: int, outside: bool, make: Callable[..., MachineHost] = MachineHost) -> None:
    """Run a shared host until SIGTERM or SIGINT. tickets: CPUs offered to tickets, 0: the default; outside: its VMs reach what
    this machine reaches; make: makes the host. Raises what start() does."""
    leftovers.remove_hosts()
    path = str(Path(path).absolute())

    async def main(folder: Path) -> None:
        host = make(folder, path, tickets, outside=outside)
        await host.start()
        try:
            server = RunServer(host, path + ".run")
            try:
                (folder / leftovers.ELSEWHERE).write_text(f"{path}\n{path}.run\n")
                ended = asyncio.Event()
                for number in (signal.SIGINT, signal.SIGTERM):
                    asyncio.get_running_loop().add_signal_handler(number, ended.set)
                print(f"listening on unix:{path}", flush=True)
                await ended.wait()
            finally:
                await server.close()
        finally:
            await host.close()

    with leftovers.host_folder() as folder:
        asyncio.run(main(folder))


# --- the side of gc run ------------------------------------------------------------------------------------------------


def ask(path: str, wish: Wish, progress: Callable[[str], None]) -> int:
    """Have the host at this path run the program; its exit code."""

    async def main() -> int:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path + ".run")
            socket.send_fds(connection, [HELLO], [0, 1, 2])
        except OSError as error:
            connection.close()
            if leftovers.is_alive(path):
                progress(f"the host at unix:{path} has no machines: start one with gc host --hypervisor qemu --socket PATH, "
                         "or unset GRIDCENTRIC_HOST for a private one")  # fmt: skip
                return NotSupported.exit_code
            progress(f"there is no host at unix:{path}: {error.strerror}")
            return HostUnreachable.exit_code
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_LINE)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, writer.write, f"signal {int(number)}\n".encode())
        with contextlib.suppress(OSError):
            writer.write(_to_json(wish))
            while line := await reader.readline():
                verb, _, text = line.decode().rstrip("\n").partition(" ")
                if verb == "say":
                    progress(text)
                elif verb == "exit":
                    code, _, trouble = text.partition(" ")
                    if trouble:
                        progress(trouble)
                    writer.close()
                    return int(code)
        progress(f"the host at unix:{path} has ended, and the program with it")
        return HostUnreachable.exit_code

    return asyncio.run(main())
