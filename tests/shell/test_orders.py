"""gc clone --of: from inside a family and from outside, by vmid and by process. What an order means is in tests/conformance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from runner.hosts import gc_binary, wait_until

CALM = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}

# Says its pid when it has attached, and sleeps until it is ended.
PROGRAM = """
import os, time
from gridcentric import guest
{prepare}
guest.vmid()
print(os.getpid(), flush=True)
time.sleep(100000)
"""


class Program:
    def __init__(self, prepare: str = "", **env: str) -> None:
        source = PROGRAM.format(prepare=prepare)
        self.process = subprocess.Popen([sys.executable, "-c", source], env=CALM | env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.pid = int(self.process.stdout.readline())

    def close(self) -> None:
        subprocess.run([gc_binary(), "end", "--pid", str(self.pid)], env=CALM, capture_output=True, check=False)
        self.process.communicate()


@pytest.fixture
def listening() -> Iterator[Program]:
    program = Program("guest.serve()")
    yield program
    program.close()


def gc(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([gc_binary(), *words], env=CALM, capture_output=True, text=True, check=False)


def host_of(pid: int) -> dict[str, Any]:
    """What the host of this process's family says about itself."""
    rows = json.loads(gc("ps", "--json").stdout)
    (host,) = {row["host"] for row in rows if row["pid"] == pid}
    said = subprocess.run(
        [gc_binary(), "host", "--info", "--json"], env=CALM | {"GRIDCENTRIC_HOST": host}, capture_output=True, check=True
    )
    (info,) = json.loads(said.stdout)
    return dict(info)


def domains(pid: int) -> list[list[str]]:
    """[vmid, parent, address, state, pid] of this process's family, as `gc ps` shows them."""
    rows = [line.split() for line in gc("ps").stdout.splitlines()[1:]]
    family = next(row[0] for row in rows if row[5] == str(pid) or row[4] == str(pid))
    return [row[1:6] for row in rows if row[0] == family]


def test_by_process(listening: Program) -> None:
    made = gc("clone", "--of", str(listening.pid), "-n", "3")
    assert (made.returncode, made.stderr) == (0, "")
    lines = [line.split() for line in made.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["clone", "1"], ["clone", "2"], ["clone", "3"]]
    rows = domains(listening.pid)
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    assert [row[2] for row in rows[1:]] == [line[2] for line in lines]


def test_a_clone_by_its_process_is_ordered_too(listening: Program) -> None:
    assert gc("clone", "--of", str(listening.pid), "-n", "1").returncode == 0
    clone = domains(listening.pid)[1][4]
    made = gc("clone", "--of", clone, "-n", "2", "--json")
    assert made.returncode == 0, made.stderr
    assert '"vmid": 3' in made.stdout
    assert [row[:2] for row in domains(listening.pid)] == [["0", "-"], ["1", "0"], ["2", "1"], ["3", "1"]]


def test_by_the_environment() -> None:
    program = Program(GRIDCENTRIC_SERVE="1")
    try:
        made = gc("clone", "--of", str(program.pid), "-n", "1")
        assert made.returncode == 0, made.stderr
    finally:
        program.close()


def test_one_that_does_not_listen_keeps_its_cpus() -> None:
    program = Program()
    try:
        made = gc("clone", "--of", str(program.pid), "-n", "1")
        assert made.returncode != 0
        assert "does not listen for orders" in made.stderr
        assert "gc run" in made.stderr
        assert host_of(program.pid)["cpus"] == host_of(program.pid)["cpus_free"]
    finally:
        program.close()


def test_a_handler_that_fails_is_the_answer() -> None:
    program = Program("guest.serve()\n@guest.before_clone\ndef no():\n    raise RuntimeError('not while the moon is full')")
    try:
        made = gc("clone", "--of", str(program.pid), "-n", "1")
        assert made.returncode != 0
        assert "not while the moon is full" in made.stderr
        assert len(domains(program.pid)) == 1
    finally:
        program.close()


def test_handlers_run_in_each_clone(tmp_path: Any) -> None:
    note = tmp_path / "notes"
    write = f"guest.on_clone(lambda vmid: open({str(note)!r}, 'a').write(f'{{vmid}}\\n'))"
    program = Program(f"{write}\nguest.serve()")
    try:
        assert gc("clone", "--of", str(program.pid), "-n", "3").returncode == 0
        assert wait_until(lambda: note.exists() and len(note.read_text().split()) == 3)
        assert sorted(note.read_text().split()) == ["1", "2", "3"]
    finally:
        program.close()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--of", "1"], "UUID or -n"),
        (["--of", "1", "-n", "1", "8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11"], "UUID or -n"),
        (["--of", "x", "-n", "1"], "whole number"),
        (["--of", "1", "-n", "0"], "at least 1"),
        (["-n", "1"], "for --of"),
        ([], "gc rt"),
    ],
)
def test_wrong_words(words: list[str], text: str) -> None:
    said = gc("clone", *words)
    assert said.returncode == 2
    assert text in said.stderr


def test_a_number_that_is_no_domain() -> None:
    said = gc("clone", "--of", "1", "-n", "1")
    assert said.returncode != 0
    assert "neither a vmid of this family" in said.stderr
    assert "gc ps" in said.stderr
