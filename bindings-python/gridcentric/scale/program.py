"""The program that is scaled: started by `gc run`, with a private host of its own unless GRIDCENTRIC_HOST names one.

Knows processes; nothing of clones or traffic. Both processes are out of reach of the terminal's Ctrl-C: what becomes of them is
decided here. The program is killed when this process ends, however it ends (gc-launcher).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from gridcentric import HostUnreachable, _paths

HOST_LIMIT_S = 15.0
ASK_EVERY_S = 0.02
LOOPBACK = "127.0.0.1"
CANNOT_RUN, NOT_FOUND = 126, 127  # as shells have it
_SCHEME = "unix:"


class CannotStart(Exception):
    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Watched:
    """A child process, and its end without a thread that waits for it."""

    def __init__(self, command: Sequence[str], **more: Any) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **more)
        self.pid = self.process.pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pidfd = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._has_ended)

    async def end(self, limit: float) -> None:
        """By SIGTERM; by SIGKILL once `limit` seconds have passed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.ended.done():
                with contextlib.suppress(ProcessLookupError):  # kill() has been faster
                    signal.pidfd_send_signal(self._pidfd, number)
                await asyncio.wait([self.ended], timeout=limit if number == signal.SIGTERM else None)

    def stop(self, number: int) -> None:
        """At once, for an end that nobody has planned."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(HOST_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _has_ended(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self.process.wait()
        self.ended.set_result(code if code >= 0 else 128 - code)


class Program:
    def __init__(self, command: list[str], app: int) -> None:
        self.command, self.app = command, app
        self.host: Optional[Watched] = None
        self.host_path = ""
        self._watched: Optional[Watched] = None

    @property
    def pid(self) -> int:
        assert self._watched
        return self._watched.pid

    @property
    def ended(self) -> asyncio.Future[int]:
        """Its exit code, as a shell has it."""
        assert self._watched
        return self._watched.ended

    def check(self) -> None:
        """Raises CannotStart for what can be known before anything is started."""
        name = self.command[0]
        if shutil.which(name) is None:
            there = os.sep in name and Path(name).exists()
            raise CannotStart(
                f"'{name}' cannot be executed: is it a program?" if there else f"the program '{name}' is not found"
                + ("" if os.sep in name else " on PATH: give its path, or install it"),
                CANNOT_RUN if there else NOT_FOUND,
            )  # fmt: skip
        check_port("app", LOOPBACK, self.app, "end what listens there, or give the program another port and say so with app")

    async def start(self, stdout: Optional[int], stderr: Optional[int]) -> None:
        """Raises HostUnreachable. Descriptors of None: those of this process."""
        named = os.environ.get("GRIDCENTRIC_HOST", "")
        if named and not named.startswith(_SCHEME):
            raise HostUnreachable(f"GRIDCENTRIC_HOST is '{named}', expected unix:/path/of/socket")
        self.host_path = named[len(_SCHEME) :] if named else await self._start_host()
        # Clones have no users without this process, so they end with their master.
        own = {"GRIDCENTRIC_HOST": f"{_SCHEME}{self.host_path}", "GRIDCENTRIC_ON_MASTER_EXIT": "end"}
        launcher = str(_paths.GC.with_name("gc-launcher"))
        self._watched = Watched(
            [launcher, str(os.getpid()), str(_paths.GC), "run", "--", *self.command],
            env={**os.environ, **own}, stdout=stdout, stderr=stderr,
        )  # fmt: skip

    async def listens(self, limit_ms: int) -> bool:
        """Whether the program listens on its port within this time; False too if it has ended."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_ms / 1000
        while not self.ended.done() and loop.time() < until:
            for host in (LOOPBACK, "::1"):
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(host, self.app)
                    writer.close()
                    return not self.ended.done()
            await asyncio.wait([self.ended], timeout=ASK_EVERY_S)
        return False

    async def end(self, limit_ms: int) -> None:
        """Both processes."""
        if self._watched:
            await self._watched.end(limit_ms / 1000)
        if self.host:  # it may have ended with its family already; what is left of that ends with it
            await self.host.end(HOST_LIMIT_S)
            self._remove_socket()

    def kill(self) -> None:
        """The program alone."""
        if self._watched:
            self._watched.stop(signal.SIGKILL)

    def abandon(self) -> None:
        """What end() has not come to. The host by SIGTERM, so that it removes its socket."""
        self.kill()
        if self.host:
            self.host.stop(signal.SIGTERM)
            self._remove_socket()

    def _remove_socket(self) -> None:
        """A private host that was killed has left it, and the folder that it was in."""
        with contextlib.suppress(OSError):
            Path(self.host_path).unlink()
            Path(self.host_path).parent.rmdir()

    async def _start_host(self) -> str:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                command = [str(_paths.GC), "host", "--private", str(theirs.fileno())]
                self.host = Watched(command, pass_fds=[theirs.fileno()], stdout=theirs, stderr=theirs)
            ours.setblocking(False)
            said = b""
            with contextlib.suppress(asyncio.TimeoutError):
                said = await asyncio.wait_for(_first_line(ours), HOST_LIMIT_S)
        text = said.decode(errors="replace").strip()
        if not text.startswith("/"):
            raise HostUnreachable(f"the private host '{' '.join(command)}' did not start: {text or 'it said nothing'}")
        return text


def check_port(setting: str, host: Optional[str], port: int, advice: str) -> None:
    """Raises CannotStart if nobody can listen there."""
    family = socket.AF_INET6 if host and ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host or "", port))
            trial.listen(1)
        except OSError as error:
            where = f"{host} port {port}" if host else f"port {port}"
            raise CannotStart(f"{setting}: cannot listen on {where} ({os.strerror(error.errno or 0)}): {advice}", 1) from None


async def _first_line(stream: socket.socket) -> bytes:
    loop, said = asyncio.get_running_loop(), b""
    while b"\n" not in said:
        more = await loop.sock_recv(stream, 4096)
        if not more:
            break
        said += more
    return said
