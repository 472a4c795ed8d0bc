"""scripts/check-sizes names files and functions that are too long, in every language of ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check-sizes"
BODY = "    x = x + 1;\n" * 80


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.py", "x = 1\n" * 401, "a.py: 401 lines, expected at most 400"),
        ("a.cpp", "int f(int x) {\n" + BODY + "    return x;\n}\n", "a.cpp:1: f has 83 lines, expected at most 80"),
        ("a.js", "function f(x) {\n" + BODY + "}\n", "a.js:1: f has 82 lines, expected at most 80"),
        ("a.py", "def f(x):\n" + BODY.replace(";", ""), "a.py:1: f has 81 lines, expected at most 80"),
        ("a.c", "int f(int x) { return x; }\n", ""),
        ("CHANGELOG.md", "- entry\n" * 500, ""),
    ],
)
def test_sizes(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / "scripts").mkdir()
    script = Path(shutil.copy(SCRIPT, tmp_path / "scripts"))
    (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    subprocess.run(["git", "add", name], cwd=tmp_path, check=True)
    ran = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.returncode, ran.stderr) == (said, int(bool(said)), "")
