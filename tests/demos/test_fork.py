"""demos/fork: "hello, I am N" in each language, on the process hypervisor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FORK = Path(__file__).resolve().parents[2] / "demos" / "fork"
HELLO = ["hello, I am 1", "hello, I am 2", "hello, I am 3", "hello, I am the master of 3"]
# Nothing waits this long unless it hangs.
HANG_GUARD_S = 120


def asked(option: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "gridcentric", option], check=True, capture_output=True, text=True
    ).stdout.strip()


def run(command: list[str], folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "PATH": f"{path}:{os.environ['PATH']}"}
    env.pop("GRIDCENTRIC_HOST", None)
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG_GUARD_S, env=env)


def compile_hello(source: str, folder: Path) -> str:
    compiler = ["gcc", "-std=c99"] if source.endswith(".c") else ["g++", "-std=c++20"]
    program = str(folder / "hello")
    flags = ["-Wall", "-Wextra", "-Werror", "-O1", "-pthread", *asked("--cflags").split()]
    subprocess.run([*compiler, *flags, str(FORK / source), *asked("--libs").split(), "-o", program], check=True)
    return program


@pytest.mark.parametrize("source", ["hello.c", "hello.cpp", "hello.py", "hello.js"])
def test_hello(source: str, tmp_path: Path) -> None:
    if source.endswith((".c", ".cpp")):
        command = [compile_hello(source, tmp_path)]
    else:
        command = [{".py": sys.executable, ".js": "node"}[Path(source).suffix], str(FORK / source)]
    done = run(command, tmp_path)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, HELLO, "")


def test_hello_in_java(tmp_path: Path) -> None:
    jar = Path(sys.prefix) / "share" / "gridcentric" / "gridcentric.jar"
    if not shutil.which("javac") or not jar.exists():
        pytest.skip("there is no JDK")
    done = run(["java", "-cp", str(jar), str(FORK / "Hello.java")], tmp_path)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, HELLO, "")


def test_hello_in_bash(tmp_path: Path) -> None:
    gc = asked("--gc")
    done = run([gc, "run", "--", str(FORK / "hello.sh")], tmp_path, path=str(Path(gc).parent))
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, HELLO, "")
