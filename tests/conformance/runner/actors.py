"""Actors: processes of a language that make calls. See README.md for the lines they read and write.

It must not know what the calls mean, nor what a case expects of them.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from .hosts import group_of
from .wire import HANG_GUARD_S


class Ended(Exception):
    """The actor's process is gone; there will be no reply."""


class Hung(Exception):
    """The generous guard against hangs has struck."""


class Actor:
    """One process of one language. start() begins a call, reply() waits for its answer."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        self.name = name
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the actor
        self._process = subprocess.Popen(
            argv,
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

    def exit(self) -> int:
        """Let the program end normally (its input ends); its exit status."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before: wait_end() tells how
        return self.wait_end()

    def kill(self) -> None:
        """SIGKILL, and all that it started."""
        for pid in {self._process.pid, *group_of(self._process.pid)}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()

    def left_over(self) -> list[str]:
        """Command lines of the processes it left behind."""
        found = []
        for pid in group_of(self._process.pid):
            try:
                found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip())
            except OSError:
                pass  # it ended meanwhile: not left over
        return found

    def close(self) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
