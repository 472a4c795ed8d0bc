"""Actors: processes of a language that make calls. See README.md for the lines they read and write.

It must not know what the calls mean, nor what a case expects of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from .hosts import group_of
from .wire import HANG_GUARD_S


class Ended(Exception):
    """The actor's process is gone; there will be no reply."""


class Hung(Exception):
    """The generous guard against hangs has struck."""


class Forked:
    """An adapter started by a zygote (adapters/zygote.py), with the part of Popen's face that Actor needs."""

    def __init__(self, zygote: Zygote, env: dict[str, str], stderr: IO[str]) -> None:
        child_in, stdin = os.pipe()
        stdout, child_out = os.pipe()
        status, child_status = os.pipe()
        theirs = [child_in, child_out, stderr.fileno(), child_status]
        zygote.start(env, theirs)
        for fd in (child_in, child_out, child_status):
            os.close(fd)
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb")
        self._status = os.fdopen(status, "rb")
        self.pid = int(self._status.readline())
        self._ended: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self._ended is None:
            if timeout is not None and not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("adapter", timeout)
            self._ended = os.waitstatus_to_exitcode(int(self._status.readline()))
            self._status.close()
        return self._ended


class Zygote:
    """The process that forks adapters of one Python module. It ends with the runner."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [argv[0], argv[1], str(theirs.fileno()), *argv[2:]]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=os.environ | env)
        theirs.close()

    def start(self, env: dict[str, str], descriptors: list[int]) -> None:
        socket.send_fds(self._channel, [json.dumps(env).encode()], descriptors)

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


class Caller:
    """Somebody who makes the calls that are told over a stream. start() begins a call, reply() waits for its answer."""

    def __init__(self, name: str, last_id: int = 0) -> None:
        self.name = name
        self.last_id = last_id
        self._to: IO[bytes] | None = None
        self._from: IO[bytes] | None = None
        self._connection: socket.socket | None = None
        self._buffer = bytearray()
        self._replies: dict[int, dict[str, Any]] = {}

    def start(self, call: str, *args: object) -> int:
        """Begin a call; its ID. Keys in this order, no spaces: adapters need no full JSON parser."""
        self.last_id += 1
        message = {"id": self.last_id, "call": call, "args": args}
        assert self._to is not None
        try:
            self._to.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            self._to.flush()
        except (BrokenPipeError, ConnectionResetError):
            raise Ended(f"{self.name} is gone{self.why()}") from None
        return self.last_id

    def reply(self, call: int) -> dict[str, Any]:
        """Wait for the answer of a call: {"ok": value} or {"error": code, "text": text}."""
        while call not in self._replies:
            self._take_lines(time.monotonic() + HANG_GUARD_S)
        return self._replies.pop(call)

    def _take_lines(self, guard: float) -> None:
        assert self._from is not None
        if not select.select([self._from], [], [], max(0.0, guard - time.monotonic()))[0]:
            raise Hung(f"{self.name} has not answered in {HANG_GUARD_S:.0f} s{self.why()}")
        try:
            data = os.read(self._from.fileno(), 1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Ended(f"{self.name} is gone{self.why()}")
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        for line in lines:
            reply = json.loads(line)
            self._replies[reply.pop("id")] = reply

    def why(self) -> str:
        """What is known of the reason why it is silent, to be added to an error."""
        return ""

    def end_input(self) -> None:
        """Ask the program to end normally."""
        assert self._to is not None
        with contextlib.suppress(OSError):  # it has ended before
            if self._connection:
                self._connection.shutdown(socket.SHUT_WR)
            else:
                self._to.close()

    def talk_over(self, connection: socket.socket) -> None:
        """From now on: a domain has connected to the runner by itself (real.py)."""
        for stream in (self._to, self._from):
            if stream:
                stream.close()
        self._connection = connection
        self._to, self._from = connection.makefile("wb"), connection.makefile("rb", buffering=0)

    def close(self) -> None:
        for stream in (self._to, self._from, self._connection):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Actor(Caller):
    """One process of one language, told over its standard input."""

    def __init__(self, name: str, program: list[str] | Zygote, env: dict[str, str]) -> None:
        super().__init__(name)
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the actor
        if isinstance(program, Zygote):
            self._process: subprocess.Popen[bytes] | Forked = Forked(program, env, self._stderr)
        else:
            self._process = subprocess.Popen(
                program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
                env=os.environ | env,
            )
        self._to, self._from = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def why(self) -> str:
        self._stderr.seek(0)
        said = self._stderr.read().strip()
        return f"; on its stderr: {said}" if said else ""

    def wait_end(self) -> int:
        """Wait until the process has ended by itself; its exit status (a negative one: the signal)."""
        try:
            return self._process.wait(timeout=HANG_GUARD_S)
        except subprocess.TimeoutExpired:
            raise Hung(f"{self.name} has not ended in {HANG_GUARD_S:.0f} s{self.why()}") from None

    def kill(self, group: bool = True) -> None:
        """SIGKILL, and all that it started when `group`; returns when they have gone."""
        for pid in {self._process.pid, *(group_of(self._process.pid) if group else ())}:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                select.select([pidfd], [], [], HANG_GUARD_S)
                os.close(pidfd)
        self._process.wait()

    def left_over(self) -> list[str]:
        """Command lines of the processes it left behind."""
        found = []
        for pid in group_of(self._process.pid):
            with contextlib.suppress(OSError):  # it ended meanwhile: not left over
                found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip())
        return found

    def close(self) -> None:
        self.kill()
        super().close()
        self._stderr.close()
