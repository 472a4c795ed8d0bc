"""A driver that another Python package registers is one of gc's hypervisors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

GC = Path(sys.executable).with_name("gc")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def gc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """gc with a package on Python's path that brings the driver `paper`, whose command line prints its words."""
    (tmp_path / "paper.py").write_text("def main(words):\n    print(*words, sep='|')\n    return 7\n")
    info = tmp_path / "paper-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: paper\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gridcentric.hypervisors]\npaper = paper:main\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(GC), *words], capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("verb", ["run", "host"])
def test_it_gets_the_words_as_they_are(gc: Run, verb: str) -> None:
    ran = gc(verb, "--hypervisor", "paper", "--sheets", "3", "--", "true", "--hypervisor", "x")
    assert (ran.stdout, ran.stderr, ran.returncode) == (f"{verb}|--sheets|3|--|true|--hypervisor|x\n", "", 7)


def test_no_other_name_is_taken(gc: Run) -> None:
    ran = gc("run", "--hypervisor", "papyrus", "--", "true")
    assert ran.returncode == 2
    assert "--hypervisor is 'papyrus', expected process or qemu" in ran.stderr


def test_the_words_of_the_program_are_its_own(gc: Run) -> None:
    ran = gc("run", "--", "echo", "--hypervisor", "paper")
    assert (ran.stdout, ran.returncode) == ("--hypervisor paper\n", 0)
