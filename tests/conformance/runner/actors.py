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


class Actor:
    """One process of one language. start() begins a call, reply() waits for its answer."""

    def __init__(self, name: str, program: list[str] | Zygote, env: dict[str, str]) -> None:
        self.name = name
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
        self._buffer = bytearray()
        self._replies: dict[int, dict[str, Any]] = {}
        self._last_id = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, call: str, *args: object) -> int:
        """Begin a call; its ID. Keys in this order, no spaces: adapters need no full JSON parser."""
        self._last_id += 1
        message = {"id": self._last_id, "call": call, "args": args}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Ended(f"{self.name} is gone{self._why()}") from None
        return self._last_id

    def reply(self, call: int) -> dict[str, Any]:
        """Wait for the answer of a call: {"ok": value} or {"error": code, "text": text}."""
        while call not in self._replies:
            self._read(time.monotonic() + HANG_GUARD_S)
        return self._replies.pop(call)

    def _read(self, guard: float) -> None:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], max(0.0, guard - time.monotonic()))[0]:
            raise Hung(f"{self.name} has not answered in {HANG_GUARD_S:.0f} s{self._why()}")
        data = os.read(self._process.stdout.fileno(), 1 << 20)
        if not data:
            raise Ended(f"{self.name} is gone{self._why()}")
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        for line in lines:
            reply = json.loads(line)
            self._replies[reply.pop("id")] = reply

    def _why(self) -> str:
        self._stderr.seek(0)
        said = self._stderr.read().strip()
        return f"; on its stderr: {said}" if said else ""

    def wait_end(self) -> int:
        """Wait until the process has ended by itself; its exit status (a negative one: the signal)."""
        try:
            return self._process.wait(timeout=HANG_GUARD_S)
        except subprocess.TimeoutExpired:
            raise Hung(f"{self.name} has not ended in {HANG_GUARD_S:.0f} s{self._why()}") from None

    def end_input(self) -> None:
        """Ask the program to end normally; wait_end() tells how it did."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended before
            self._process.stdin.close()

    def kill(self) -> None:
        """SIGKILL, and all that it started; returns when they have gone."""
        for pid in {self._process.pid, *group_of(self._process.pid)}:
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
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
