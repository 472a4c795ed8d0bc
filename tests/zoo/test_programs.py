"""Every program of the zoo, in both modes (`-m "not full"`: those of CI, each in one mode; GC_REPEAT=N plays each N times)."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from playing import PACKAGES, ROOT, Program, play, programs, why_not

MODES = ("pidns", "plain")
REPEAT = range(int(os.environ.get("GC_REPEAT", "1")))


def cases() -> Iterable[object]:
    for place, program in enumerate(programs()):
        for mode in MODES:
            marks = [pytest.mark.full] if program.full or mode != MODES[place % 2] else []
            yield pytest.param(program, mode, id=f"{program.name}-{mode}", marks=marks)


@pytest.mark.parametrize("repeat", REPEAT)
@pytest.mark.parametrize(("program", "mode"), list(cases()))
def test_program(program: Program, mode: str, repeat: int, tmp_path: Path) -> None:
    assert PACKAGES.exists(), "nox -s zoo installs what the programs need"
    if missing := why_not(program):
        pytest.skip(f"not tried: {missing}")
    play(program, mode, tmp_path)


def test_each_program_says_what_it_shows() -> None:
    for program in programs():
        text = program.path.read_text()
        first = text.removeprefix("'use strict';\n").splitlines()[0]
        assert re.match(r'"""\S.{20}|// \S.{20}', first), f"{program.path.name} begins with {first!r}"
        assert text.count("\n") < 60, f"{program.path.name} is too long for an example"


def test_each_line_of_the_document_is_played() -> None:
    """docs/if-you-use.md: every entry names its programs, and they are there."""
    text = (ROOT / "docs" / "if-you-use.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text, re.M)[0:]
    entries = [row for row in rows if row[0] not in ("If you use", "---")]
    there = {program.name for program in programs()}
    assert len(entries) > 20, entries
    for thing, _, played in entries:
        names = re.findall(r"`((?:python|node)/\w+)`", played)
        assert names, f"the line of {thing} names no program"
        assert set(names) <= there, f"{thing}: {set(names) - there}"
