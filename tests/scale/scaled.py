"""A running `gc scale`, its clients, and the proof that it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

GC = os.environ.get("GRIDCENTRIC_GC") or str(Path(sys.executable).with_name("gc"))
CALM = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
PROGRAMS = Path(__file__).parent / "programs"
# Nothing waits this long unless it hangs; it never decides between right and wrong.
HANG_GUARD_S = 100
HERE = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last is known."""
    held = [socket.create_server((HERE, 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def until(holds: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + HANG_GUARD_S
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"it never came: {what}")


class Client:
    """A connection to a server of lines."""

    def __init__(self, port: int, host: str = HERE) -> None:
        self.socket = socket.create_connection((host, port), timeout=HANG_GUARD_S)
        self._reader = self.socket.makefile("rb")

    def ask(self, line: str) -> str:
        self.socket.sendall(f"{line}\n".encode())
        return self.line()

    def line(self) -> str:
        """The next line; "" at the end, or when the connection is reset."""
        try:
            return self._reader.readline().decode().strip()
        except ConnectionError:
            return ""

    def close(self) -> None:
        self._reader.close()
        self.socket.close()


class Scaled:
    """`gc scale` with these words; programs are found by the port that is in their own words."""

    def __init__(self, folder: Path, *words: str, app: int = 0, env: Optional[dict[str, str]] = None) -> None:
        self.folder, self.app = folder, app
        # Sockets of private hosts are in a folder of this test's.
        self.runtime = tempfile.mkdtemp(prefix="gc-scale-", dir="/tmp")
        env = CALM | {"XDG_RUNTIME_DIR": self.runtime} | (env or {})
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen([GC, "scale", *words], env=env, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        self.pids: set[int] = set()

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def ready(self) -> Scaled:
        until(lambda: "goes to clones of" in self.err or self.process.poll() is not None, "ready")
        assert self.process.poll() is None, self.err
        self.note_processes()
        return self

    def said(self, text: str, times: int = 1) -> None:
        until(lambda: self.err.count(text) >= times or self.process.poll() is not None, text)
        assert self.err.count(text) >= times, self.err

    def note_processes(self) -> set[int]:
        """All below it, so that their ends can be waited for."""
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(stat.parent.name)] = int(fields[1])
        below = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in below} - below:
            below |= more
        self.pids |= below
        return below

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.note_processes()
            self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Its exit code, once nothing is left of it."""
        code = self.process.wait(HANG_GUARD_S)
        until(lambda: not [pid for pid in self.pids if _lives(pid)], f"the end of {self.pids}")
        until(lambda: not [file for file in Path(self.runtime).rglob("*") if not file.is_dir()], "the end of the host's socket")
        for folder in sorted(Path(self.runtime).rglob("*"), reverse=True):
            folder.rmdir()
        Path(self.runtime).rmdir()
        return code


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def read(port: int, path: str, headers: Optional[dict[str, str]] = None) -> str:
    request = urllib.request.Request(f"http://{HERE}:{port}{path}", headers=headers or {})
    with urllib.request.urlopen(request, timeout=HANG_GUARD_S) as answer:
        return str(answer.read().decode())


def state(port: int) -> dict[str, Any]:
    return dict(json.loads(read(port, "/_gridcentric/state")))


def metrics(port: int) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in read(port, "/_gridcentric/metrics").splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}
