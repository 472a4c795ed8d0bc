"""Hosts to test against: starting one with a control channel, driving it, and proving that it leaves nothing.

It must not know languages or cases.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .unbuilt import Missing
from .wire import HANG_GUARD_S, Connection

ROOT = Path(__file__).resolve().parents[3]
CPUS = 8  # what every host of the suite offers; the cases count on it
FAKE_HOSTS = ("core", "reference")
PROCESS_HOSTS = ("process-pidns", "process-plain")  # the process hypervisor, its clones made in that mode
VM_HOSTS = ("qemu", "ray")  # vms.py, cluster.py
REAL_HOSTS = PROCESS_HOSTS + VM_HOSTS
HOSTS = FAKE_HOSTS + REAL_HOSTS


def gc_binary() -> str:
    """The gc command under test: $GRIDCENTRIC_GC, or the one of the Python that runs the tests, or on PATH."""
    beside = Path(sys.executable).with_name("gc")
    found = os.environ.get("GRIDCENTRIC_GC") or (str(beside) if beside.exists() else shutil.which("gc"))
    if not found:
        raise Missing("there is no gc: run `make build`, or set GRIDCENTRIC_GC to the binary")
    return found


def python_path() -> str:
    """PYTHONPATH for children: the checkout's package only where none is installed (it has no extension module)."""
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    try:
        import gridcentric  # noqa: F401
    except ImportError:
        paths.append(str(ROOT / "bindings-python"))
    return os.pathsep.join(paths)


def host_command(kind: str) -> list[str]:
    if kind == "core":
        return [gc_binary(), "host", "--hypervisor", "fake"]
    if kind in PROCESS_HOSTS:
        return [gc_binary(), "host", "--hypervisor", "process"]
    if kind == "reference":
        return [sys.executable, "-m", "gridcentric.reference"]
    raise ValueError(f"host {kind!r}; there are {', '.join(HOSTS)}")


class Host:
    """A host process under control. The socket lies in its own folder, which goes with close()."""

    def __init__(self, kind: str, *, command: list[str] | None = None, control: bool = True) -> None:
        """`kind` of HOSTS, or the name of what `command` starts. Without control it has a real clock and no seed."""
        self.kind = kind
        self.control: Connection = None  # type: ignore[assignment]  # until it listens
        self.has_clock = control
        # Not a name that `gc ps` looks for: nobody else's is to ask a host whose replies are scripted.
        self.folder = tempfile.mkdtemp(prefix="conformance-")
        self.socket = f"{self.folder}/host.sock"
        self.address = f"unix:{self.socket}"
        self.guest_environment = {"GRIDCENTRIC_HOST": self.address}
        if kind in PROCESS_HOSTS:
            self.guest_environment["GRIDCENTRIC_CLONE_MODE"] = kind.removeprefix("process-")
        self._errors = Path(self.folder, "stderr").open("w+")  # noqa: SIM115 - lives as long as the host
        argv = [*(command or host_command(kind)), "--socket", self.socket, "--cpus", str(CPUS)]
        argv += ["--control", "--seed", "1"] if control else []
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": python_path()},
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        if first != f"listening on {self.address}\n":
            said = self.stderr()
            self.kill()
            self.close()
            raise Missing(f"{' '.join(argv)} said {first!r} instead of that it listens; stderr: {said}")
        self.control = Connection(self.socket, "control" if control else "observe")

    def is_dead(self) -> bool:
        return self.process.poll() is not None

    def stderr(self) -> str:
        return Path(self._errors.name).read_text()

    def command(self, verb: str, *args: object) -> list[list[str]] | list[str]:
        """A control verb: its items when it answers with items (or is one that may), else its fields."""
        items, fields = self.control.call(verb, *args)
        return items if items or verb in ("dump", "domains") else fields

    def descriptors(self) -> list[str]:
        """What the host has open. One round trip first, so that what it is closing is closed."""
        self.control.call("now" if self.has_clock else "info")
        folder = Path(f"/proc/{self.process.pid}/fd")
        return sorted(str(fd.readlink()).split(":")[0] for fd in folder.iterdir())

    def freeze(self) -> None:
        """It does nothing any more, and all its connections stay."""
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """As a crash would: no clean-up in the host."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask the host to end and check that it ends well and takes its socket with it."""
        self.control.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=HANG_GUARD_S)
            errors, left = self.stderr(), Path(self.socket).exists()
        finally:
            self.close()
        assert status == 0, f"the {self.kind} host ended with status {status} on SIGTERM; stderr: {errors}"
        assert not left, f"the {self.kind} host left its socket behind"
        assert not group_of(self.process.pid), f"the {self.kind} host left processes behind"
        assert "Sanitizer" not in errors and "Traceback" not in errors, errors

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        if self.control:
            self.control.close()
        if self.process.stdout:
            self.process.stdout.close()
        self._errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_until(holds: Callable[[], bool]) -> bool:
    """Wait for what processes bring about in their own time. False: the generous guard against hangs has struck."""
    guard = time.monotonic() + HANG_GUARD_S
    while not holds():
        if time.monotonic() > guard:
            return False
        time.sleep(0.001)
    return True


def group_of(leader: int) -> list[int]:
    """The living processes of a session started by `leader` (zombies are dead)."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return []  # the usual case, without reading all of /proc
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            state, _parent, _group, session = stat.rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                found.append(int(entry))
    return found
