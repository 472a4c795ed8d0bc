"""The man page, which gc makes of its own tables, and the two names of the command."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from in_domain import GC, VERBS, gc


def test_it_names_every_verb_and_option() -> None:
    page = gc("manual").stdout.replace("\\-", "-")
    for verb in VERBS:
        assert re.search(rf"^\.SS gc {verb}\b", page, re.MULTILINE), verb
        for option in re.findall(r"^  (--\S+)", gc(verb, "--help").stdout, re.MULTILINE):
            assert f"\n.B {option}" in page, (verb, option)
    for code in range(16, 29):
        assert f"\n.B {code}\n" in page


def test_it_renders_without_a_warning(tmp_path: Path) -> None:
    assert shutil.which("man"), "man is needed: apt-get install man-db"
    page = tmp_path / "gc.1"
    page.write_text(gc("manual").stdout)
    shown = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", str(page)], capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    assert "gc wait [OPTION ...] UUID [TIMEOUT]" in shown.stdout
    assert "'default'" not in shown.stdout


@pytest.mark.parametrize("name", ["gc", "gridcentric"])
def test_it_speaks_of_itself_by_the_name_it_was_called_by(tmp_path: Path, name: str) -> None:
    command = tmp_path / name
    command.symlink_to(GC)

    def said(*words: str) -> str:
        done = subprocess.run([str(command), *words], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert said("--help").startswith(f"{name} - VM fork")
    assert f"\n  {name} wait " in said("--help")
    assert said("vmid", "--help").startswith(f"usage: {name} vmid")
    assert said("vmid", "x").startswith(f"{name} vmid: unexpected argument 'x'\nusage: {name} vmid")
    assert said("what").startswith(f"{name}: unknown verb 'what'")
