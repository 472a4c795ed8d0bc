"""Real VMs to test with. They are skipped, with the reason, where there is no QEMU or no image can be built.

The image is built once and kept where the user's images are ($XDG_DATA_HOME). Every process that a test starts carries a mark
in its environment, and hosts have their folders in a place of the test's own: both tell what was left over.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from vms import Family, Vms, what_is_missing

# Nothing waits this long unless it hangs; it never decides between right and wrong.
HANG_GUARD_S = 240


class Gc:
    """The gc command, with its own place and mark."""

    def __init__(self, folder: Path) -> None:
        from gridcentric import _paths

        self.command = str(_paths.GC)
        self.folder = folder
        self._mark = f"GRIDCENTRIC_TEST_MARK={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), name: value}
        self.environment.pop("GRIDCENTRIC_HOST", None)
        self.prefix: list[str] = []  # what runs gc
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, *words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run gc to its end."""
        return subprocess.run(
            [*self.prefix, self.command, *words], input=stdin, env={**self.environment, **environment},
            capture_output=True, text=True, timeout=HANG_GUARD_S, check=False,
        )  # fmt: skip

    def image(self, name: str, *packages: str) -> str:
        """The name of an image with these packages, which is built once and kept, as a base takes a minute."""
        if not any(line.startswith(f"{name} ") for line in self("image", "ls").stdout.splitlines()):
            built = self("image", "build", "--name", name, "--packages", *packages)
            assert built.returncode == 0, built.stderr
        return name

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start gc, with pipes at its input, output and errors."""
        process = subprocess.Popen(
            [*self.prefix, self.command, *words], env={**self.environment, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def machine(self, *command: str, host: str = "", **options: str) -> subprocess.Popen[str]:
        """Start a program in a VM: gc run --hypervisor qemu --OPTION VALUE ... -- COMMAND."""
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return self.start("run", "--hypervisor", "qemu", *words, "--", *command, **({"GRIDCENTRIC_HOST": host} if host else {}))

    def domains(self) -> list[dict[str, Any]]:
        """gc ps, of the hosts of this test."""
        listed: list[dict[str, Any]] = json.loads(self("ps", "--json").stdout)
        return [domain for domain in listed if domain["host"].startswith(f"unix:{self.folder}")]

    def processes(self) -> dict[int, str]:
        """All living processes that this test has started, directly or not: pid and command line."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it has just ended
        return found

    def wait_for_end_of_all(self) -> None:
        """Until no process of this test lives: what dies with another does so a moment later."""
        for pid in self.processes():
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                continue
            ended = select.select([fd], [], [], HANG_GUARD_S)[0]
            os.close(fd)
            assert ended, f"still there: {self.processes()}"

    def left_over(self) -> tuple[dict[int, str], list[str]]:
        return self.processes(), sorted(str(p) for p in self.folder.iterdir())

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def gc() -> Iterator[Gc]:
    """gc, of which no process may be left when the test is over."""
    # Not tmp_path: the path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="gcq-") as folder:
        made = Gc(Path(folder))
        try:
            yield made
            left = made.left_over()
        finally:
            made.close()
        assert left == ({}, [])


@pytest.fixture
def vms() -> None:
    """VMs can be run."""
    if reason := what_is_missing():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def machines() -> Iterator[Vms]:
    """A host of machines in this process."""
    if reason := what_is_missing():
        pytest.skip(reason)
    made = Vms()
    yield made
    made.close()


@pytest.fixture(scope="session")
def _booted(machines: Vms) -> Family:
    return machines.boot()


@pytest.fixture
def family(_booted: Family) -> Iterator[Family]:
    """One VM for all tests, as booting takes long; a test leaves no clone of it behind."""
    yield _booted
    assert not _booted.clones()
