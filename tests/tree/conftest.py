"""Programs under `gc run --tree`, which are cloned with all processes below them. Every test looks for what is left of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from interception import Interception
from runner.hosts import gc_binary

CALM = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
HANG_GUARD_S = 120
MARK = "GC_TEST_OF_TREES"


def processes_of(mark: str, session: Optional[int]) -> dict[int, str]:
    """All processes of the session, or that have inherited the mark in their environment, and what they are."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                continue
            marked = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if marked or int(fields[3]) == session:
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


class Tree:
    """A program and what is below it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.mark = f"{os.getpid()}-{folder}"
        self.environment = CALM | environment | {MARK: self.mark}
        self._program: Optional[subprocess.Popen[str]] = None

    def start(
        self,
        *command: str,
        options: tuple[str, ...] = ("--tree",),
        interception: Optional[Interception] = None,
        user: tuple[str, ...] = (),
    ) -> subprocess.Popen[str]:
        """user: what starts a command as another one."""
        whole = [*user, gc_binary(), "run", *options, "--", *command]
        self._program = subprocess.Popen(
            interception.command(*whole) if interception else whole,
            pass_fds=interception.descriptors() if interception else (),
            env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        if interception:
            interception.begin()
        return self._program

    def run(self, *command: str, options: tuple[str, ...] = ("--tree",)) -> subprocess.CompletedProcess[str]:
        """Until the master and all clones have closed their output."""
        program = self.start(*command, options=options)
        out, err = program.communicate(timeout=HANG_GUARD_S)
        return subprocess.CompletedProcess(command, program.returncode, out, err)

    def lines(self, *command: str) -> list[str]:
        """What all domains have written, sorted: they do so at the same time."""
        said = self.run(*command)
        assert (said.returncode, said.stderr) == (0, ""), said
        return sorted(said.stdout.splitlines())

    def script(self, text: str, shell: str = "bash") -> list[str]:
        file = self.folder / "script"
        file.write_text(text)
        return self.lines(shell, str(file))

    def left(self) -> dict[int, str]:
        return processes_of(self.mark, self._program.pid if self._program else None)

    def close(self) -> None:
        """Whatever is still there a while after the program's end is left behind."""
        if self._program and self._program.poll() is None:
            self._program.kill()
            self._program.wait()
        end = time.monotonic() + 20
        while self.left() and time.monotonic() < end:
            time.sleep(0.05)
        left = self.left()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"left behind: {left}"


@pytest.fixture
def new_tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    made: list[Tree] = []

    def make(**environment: str) -> Tree:
        made.append(Tree(tmp_path, environment))
        return made[-1]

    yield make
    for tree in made:
        tree.close()


@pytest.fixture
def tree(new_tree: Callable[..., Tree]) -> Tree:
    return new_tree()


@pytest.fixture
def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for s in (one, other):
            s.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def free_port(free_ports: tuple[int, int]) -> int:
    return free_ports[0]
