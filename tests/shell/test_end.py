"""gc end: families are ended from outside, also what is left of one whose master is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from in_domain import GC, gc

HANG_GUARD_S = 120
# A master of two clones that sleep; it ends as the line it reads says.
PROGRAM = """
import sys, time
from gridcentric import guest
ticket = guest.request_ticket(2, 2, 1, 10000)
if guest.clone(ticket):
    time.sleep(100000)
print("cloned", flush=True)
exec(input())
"""


class Family:
    def __init__(self, **environment: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")} | environment
        self.master = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=env | {"GRIDCENTRIC_GC": GC}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.master.stdout is not None and self.master.stdout.readline() == "cloned\n"
        rows = domains()
        (self.name,) = [row["family"] for row in rows if row["pid"] == self.master.pid]
        self.pids = [row["pid"] for row in rows if row["family"] == self.name]
        self.host = next(row["host"] for row in rows if row["family"] == self.name).removeprefix("unix:")
        assert len(self.pids) == 3

    def ends_with(self, code: str) -> None:
        assert self.master.stdin is not None
        self.master.stdin.write(code + "\n")
        self.master.stdin.flush()
        self.master.wait(HANG_GUARD_S)  # not for the end of its output: clones that live on have that too

    def close(self) -> None:
        self.master.kill()
        self.master.wait()
        for stream in (self.master.stdin, self.master.stdout):
            if stream:
                stream.close()

    def living(self) -> list[int]:
        return [row["vmid"] for row in domains() if row["family"] == self.name]

    def nothing_is_left(self) -> None:
        """No domain, no process, and the private host has gone with its socket."""
        until = time.monotonic() + HANG_GUARD_S
        while self.living() or any(map(lives, self.pids)) or Path(self.host).exists():
            assert time.monotonic() < until, "something is left"
            time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def domains() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(gc("ps", "--json").stdout)
    return rows


@pytest.fixture
def family() -> Iterator[Family]:
    made = Family()
    yield made
    made.close()


def test_by_its_name(family: Family) -> None:
    said = gc("end", family.name[:8])
    assert (said.returncode, said.stdout, said.stderr) == (0, f"ended {family.name}: 3 domains\n", "")
    assert family.master.wait(HANG_GUARD_S) == -signal.SIGKILL
    family.nothing_is_left()
    again = gc("end", family.name)
    assert (again.returncode, again.stdout) == (27, "")
    assert f"no family has a name that begins with '{family.name}'" in again.stderr


def test_by_a_process(family: Family) -> None:
    assert gc("end", "--pid", str(family.pids[-1])).returncode == 0
    family.nothing_is_left()


def test_one_clone(family: Family) -> None:
    said = gc("end", family.name, "1")
    assert (said.returncode, said.stdout, said.stderr) == (0, f"ended vmid 1 of {family.name}\n", "")
    assert family.living() == [0, 2]
    again = gc("end", family.name, "1")
    assert (again.returncode, again.stdout) == (27, "")
    assert f"family {family.name} has no vmid 1" in again.stderr
    assert "VMID is 0, expected that of a clone" in gc("end", family.name, "0").stderr
    family.ends_with("guest.kill(2); print([(end.vmid, end.how) for end in guest.wait(ticket)], flush=True)")
    assert family.master.stdout is not None
    assert family.master.stdout.readline() == "[(1, 'killed'), (2, 'killed')]\n"


def test_what_a_master_has_left_on_purpose(family: Family) -> None:
    family.ends_with("")
    assert family.master.returncode == 0
    assert family.living() == [1, 2]
    assert gc("end", family.name).stdout == f"ended {family.name}: 2 domains\n"
    family.nothing_is_left()


@pytest.mark.parametrize("code", ["raise RuntimeError", "sys.exit(3)", "sys.exit('text')", "import os; os._exit(0)"])
def test_a_master_that_ends_with_an_error_takes_its_family_along(family: Family, code: str) -> None:
    family.ends_with(code)
    family.nothing_is_left()


def test_a_master_whose_clones_are_to_be_kept() -> None:
    kept = Family(GRIDCENTRIC_ON_MASTER_EXIT="keep")
    kept.ends_with("raise RuntimeError")
    assert kept.master.returncode == 1
    assert kept.living() == [1, 2]
    assert gc("end", kept.name).returncode == 0
    kept.nothing_is_left()
    kept.close()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "expected exactly one of FAMILY, --pid PID and --all"),
        (["abcd", "--all"], "expected exactly one of FAMILY, --pid PID and --all"),
        (["abcd", "1", "--all"], "expected exactly one of FAMILY, --pid PID and --all"),
        (["abc"], "FAMILY is 'abc', expected at least the first 4 characters of its name"),
        (["--pid", "x"], "--pid is 'x'"),
    ],
)
def test_wrong_words(words: list[str], text: str) -> None:
    said = gc("end", *words)
    assert (said.returncode, said.stdout) == (2, "")
    assert text in said.stderr


def test_a_process_that_is_no_domain() -> None:
    said = gc("end", "--pid", str(os.getpid()))
    assert (said.returncode, said.stdout) == (27, "")
    assert f"process {os.getpid()} is not a domain of any of your hosts" in said.stderr
