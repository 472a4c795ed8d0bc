"""gc selftest uniqueness on the process hypervisor, that it fails where it should, and its rows on what families could say.
In VMs: tests/qemu/test_selftest.py."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import HANG_GUARD_S
from runner.hosts import gc_binary

from gridcentric import _model
from gridcentric.selftest import rows

MACHINES_ONLY = {"MAC address", "hostname", "machine-id", "boot_id", "random-seed file"}
OF_NODE = {row.name for row in rows.ROWS if row.probe == "node"}


def selftest(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "GRIDCENTRIC_HOST"} | environment
    return subprocess.run(
        [gc_binary(), "selftest", *words], env=env, capture_output=True, text=True, timeout=HANG_GUARD_S, check=False
    )


def uniqueness(*words: str, **environment: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and result and detail by row."""
    done = selftest("uniqueness", "--json", *words, **environment)
    said = json.loads(done.stdout)
    assert said["passed"] == (done.returncode == 0), done.stderr
    return done.returncode, {row["name"]: (row["result"], row["detail"]) for row in said["rows"]}


def failed(verdicts: dict[str, tuple[str, str]]) -> set[str]:
    return {name for name, (result, _) in verdicts.items() if result == rows.FAILED}


def test_processes_are_unique() -> None:
    code, verdicts = uniqueness("--clones", "5")
    assert failed(verdicts) == set()
    assert code == 0
    assert {name for name, (result, _) in verdicts.items() if result == rows.NOT_APPLICABLE} == MACHINES_ONLY
    assert len(verdicts) == len(rows.ROWS)


def test_a_table_for_people() -> None:
    done = selftest("uniqueness", "--clones", "1", "--without-node")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0].split() == ["row", "result", "detail"]
    assert len(lines) == len(rows.ROWS) + 2
    assert lines[-1] == f"process, 1 clones: {len(rows.ROWS) - 10} ok, 0 FAILED, 10 not applicable"


def test_what_is_broken_fails(tmp_path: Path) -> None:
    """A Python whose generator draws the same in every process, and such a Node."""
    (tmp_path / "sitecustomize.py").write_text("import random\nrandom.getrandbits = lambda bits: 7\n")
    (tmp_path / "broken.js").write_text("require('node:crypto').randomUUID = () => 'the same';\n")
    broken = {"PYTHONPATH": str(tmp_path), "NODE_OPTIONS": f"--require={tmp_path}/broken.js"}
    code, verdicts = uniqueness(**broken)
    assert (code, failed(verdicts)) == (1, {"Python: random", "Node: crypto.randomUUID"})
    assert verdicts["Node: crypto.randomUUID"][1] == "the master before the clone and the master have the same: the same"
    done = selftest("uniqueness", **broken)
    assert done.returncode == 1
    assert [line.split("  ")[0] for line in done.stdout.splitlines() if " FAILED  " in line] == [
        "Python: random", "Node: crypto.randomUUID",
    ]  # fmt: skip


def test_what_could_not_be_checked_fails(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    code, verdicts = uniqueness(PATH=str(tmp_path))
    assert (code, failed(verdicts)) == (1, OF_NODE)
    assert verdicts["Node: Math.random"][1] == (
        "could not be checked: there is no node on PATH; --without-node omits the rows of Node"
    )
    assert uniqueness("--without-node", PATH=str(tmp_path))[0] == 0
    (tmp_path / "sitecustomize.py").write_text("import uuid\ndel uuid.uuid4\n")
    code, verdicts = uniqueness(PYTHONPATH=str(tmp_path))
    assert (code, failed(verdicts)) == (1, {row.name for row in rows.ROWS} - OF_NODE - MACHINES_ONLY)
    assert verdicts["clock"][1] == "could not be checked: the python probe exited with 1 after 0 domains had reported"


def test_a_library_whose_random_numbers_repeat_fails(tmp_path: Path) -> None:
    library = tmp_path / "some.so"
    shutil.copy(_model.__file__ or "", library)
    with library.open("ab") as file:
        file.write(b"OpenSSL 3.0.17 1 Jul 2025")
    (tmp_path / "its_user.py").write_text(f"import ctypes\nctypes.CDLL({str(library)!r})\n")
    package = tmp_path / "node_modules" / "uuid"
    package.mkdir(parents=True)
    (package / "index.js").write_text("let _nodeId;\n")
    words = ("--import", "its_user", "--require", str(package))
    code, verdicts = uniqueness(*words, PYTHONPATH=str(tmp_path))
    assert (code, failed(verdicts)) == (1, {"libraries loaded in Python", "libraries loaded in Node"})
    assert f"static OpenSSL ({library}) repeat" in verdicts["libraries loaded in Python"][1]
    assert f"uuid-v1 ({package}/index.js) repeat" in verdicts["libraries loaded in Node"][1]
    assert uniqueness(*words, PYTHONPATH=str(tmp_path), GRIDCENTRIC_RESEEDED="some,uuid-v1")[0] == 0


def test_wrong_words() -> None:
    for words, wanted in (
        (("uniqueness", "--clones", "0"), "expected 1 to 256"),
        (("uniqueness", "--hypervisor", "fake"), "process"),
        (("speed",), "uniqueness"),
    ):
        done = selftest(*words)
        assert done.returncode == 2
        assert wanted in done.stderr
    assert "--without-node" in selftest("uniqueness", "--help").stdout


def domain(vmid: int) -> dict[str, Any]:
    drawn = {name: f"{name} {vmid}" for name in (*["getrandom", "urandom", "ssl", "random", "uuid", "secrets"],)}
    seen = {"vmid": vmid, "ip": f"10.77.0.{vmid + 2}"}
    seen |= {name: f"{name} {vmid}" for name in ("hostname", "machine-id", "boot_id", "mac")}
    return {"drawn": drawn, "seen": seen, "seed": None if vmid else "5eed", "carries": None if vmid else "master"}


SECOND = 10**9
NOW = 1_000_000 * SECOND
FAMILY = rows.Said(
    before={name: f"{name} before" for name in domain(0)["drawn"]},
    domains=[domain(vmid) for vmid in range(3)],
    asked=NOW,
    repeats=[],
    clocks={vmid: (NOW + SECOND // 1000 * vmid, NOW + SECOND // 50) for vmid in range(3)},
)


def of_family(change: Callable[[rows.Said], object]) -> dict[str, str]:
    """The rows that fail when a family like FAMILY has been changed, and why."""
    family = copy.deepcopy(FAMILY)
    change(family)
    return {v.name: v.detail for v in rows.judge({"python": family}, machines=True) if v.result == rows.FAILED}


UNSAID = "could not be checked: unexpected report"
CHANGES: list[tuple[Callable[[rows.Said], object], str, str]] = [
    (lambda f: f.domains[2]["seen"].update(mac="mac 1"), "MAC address", "clone 1 and clone 2 have the same: mac 1"),
    (lambda f: f.domains[1]["seen"].update(ip="10.77.0.2"), "IP address", "the master and clone 1 have the same: 10.77.0.2"),
    (lambda f: f.domains[1]["seen"].pop("boot_id"), "boot_id", "clone 1 did not report it"),
    (
        lambda f: f.domains[2]["drawn"].update(random="random 1"),
        "Python: random",
        "clone 1 and clone 2 have the same: random 1",
    ),
    (lambda f: f.domains[2]["drawn"].pop("uuid"), "Python: uuid.uuid4", "clone 2 did not report it"),
    (lambda f: f.before.update(secrets=""), "Python: secrets", "the master before the clone did not report it"),
    (lambda f: f.repeats.append("x repeat"), "libraries loaded in Python", "x repeat"),
    (lambda f: setattr(f, "repeats", None), "libraries loaded in Python", "the master did not report it"),
    (lambda f: f.domains[1].update(seed="5eed"), "random-seed file", "clone 1 has inherited one"),
    (lambda f: f.domains[0].update(seed=None), "random-seed file", "the master has none, so there was nothing to inherit"),
    (
        lambda f: f.domains[2].update(carries="clone 1"),
        "open connections",
        "the connection of clone 2 carried clone 1, expected its own bytes alone",
    ),
    (
        lambda f: f.domains[2].update(carries="masterclone 2"),
        "open connections",
        "the connection of clone 2 carried masterclone 2, expected its own bytes alone",
    ),
    (lambda f: f.domains[0].update(carries="x"), "open connections", "the master's connection carried x, expected 'master'"),
    (lambda f: f.domains[1].pop("carries"), "open connections", f"{UNSAID} (KeyError('carries'))"),
    (lambda f: f.clocks.pop(2), "clock", "clone 2 did not report it"),
    (
        lambda f: f.clocks.update({1: (NOW - SECOND, NOW + SECOND // 100)}),
        "clock",
        "the clock of clone 1 is off by -1010 to -1000 ms",
    ),
    (
        lambda f: f.clocks.update({1: (NOW + SECOND, NOW + SECOND // 100)}),
        "clock",
        "the clock of clone 1 is off by 990 to 1000 ms",
    ),
    (lambda f: f.clocks.update({1: (NOW, NOW + 6 * SECOND)}), "clock", "the clock of clone 1 took 6000 ms to read"),
]


@pytest.mark.parametrize(("change", "row", "why"), CHANGES)
def test_each_row_can_fail(change: Callable[[rows.Said], object], row: str, why: str) -> None:
    assert of_family(lambda family: None) == {}
    assert of_family(change) == {row: why}
