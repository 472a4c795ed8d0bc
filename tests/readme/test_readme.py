"""Every example of the README, and of the Node package's, runs as it stands and prints what a reader would expect."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def examples(language: str, document: str = "README.md") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.S | re.M)


def example(language: str) -> str:
    longest: str = max(examples(language), key=len)
    return longest


@pytest.fixture
def run(tmp_path: Path):
    def run(*command: str) -> list[str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("GRIDCENTRIC_")}
        env["NODE_PATH"] = str(ROOT / "node_modules")
        done = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_node(run, tmp_path: Path) -> None:
    (tmp_path / "example.js").write_text(example("js"))
    assert run("node", "example.js") == [f"vmid {k}, visit 42" for k in range(4)]


def test_node_package(run, tmp_path: Path) -> None:
    callbacks, handlers = examples("js", "bindings-node/README.md")
    (tmp_path / "callbacks.js").write_text(callbacks)
    said = sorted(run("node", "callbacks.js"))
    assert said[0] == "[ 'done', 'done' ]"
    assert [line.partition(" at ")[0] for line in said[1:]] == ["vmid 0", "vmid 1", "vmid 2"]
    (tmp_path / "handlers.js").write_text(handlers)
    assert run("node", "handlers.js") == []
    first, *others = (tmp_path / "example.log").read_text().splitlines()
    assert (first, sorted(others)) == ("the master begins", ["clone 1 goes on", "clone 2 goes on"])


def test_python(run, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(example("python"))
    lines = run(sys.executable, "example.py")
    assert [line.split(":")[0] for line in lines] == [*(f"vmid {k} joined" for k in (1, 2, 3, 4)), "master"]
    shares = [float(line.split(":")[1]) for line in lines]
    assert shares[-1] == pytest.approx(666_666_167, abs=5)
    assert sum(shares[:-1]) == pytest.approx(shares[-1], abs=5)


@pytest.mark.parametrize("compiler", [["gcc", "-std=c99"], ["g++", "-x", "c++"]])
def test_c(run, tmp_path: Path, compiler: list[str]) -> None:
    (tmp_path / "example.c").write_text(example("c"))
    (flags,) = run(sys.executable, "-m", "gridcentric", "--cflags", "--libs")
    run(*compiler, "-Wall", "-Wextra", "-Werror", "example.c", "-o", "example", *flags.split())
    lines = run("./example")
    hello = [re.fullmatch(r"hello, I am (\d) at (127\.77\.\d+\.\d+)", line) for line in lines[:-1]]
    assert all(hello) and [m[1] for m in hello if m] == ["1", "2", "3", "4"]
    assert len({m[2] for m in hello if m}) == 4
    assert lines[-1] == "hello, I am the master of 4"


def test_java(run, tmp_path: Path) -> None:
    jar = Path(sys.prefix) / "share" / "gridcentric" / "gridcentric.jar"
    if not shutil.which("javac") or not jar.exists():
        pytest.skip("there is no JDK")
    (tmp_path / "Example.java").write_text(example("java"))
    assert run("java", "-cp", str(jar), "Example.java") == [f"vmid {k}, visit 42" for k in range(4)]


def test_shell(run) -> None:
    asks, clones, sandbox = (one for one in examples("sh") if "gc run" in one)
    lines = run("sh", "-c", asks)
    assert re.fullmatch(r"ticket [0-9a-f-]{36} active 1 1 1", lines[0])
    assert re.fullmatch(r"ticket [0-9a-f-]{36} reserved 4 4 1", lines[1])
    assert lines[2] == "I am 0 at 127.0.0.1"
    assert run("sh", "-c", clones) == ["result 1 joined 0 text clone 1", "result 2 joined 0 text clone 2"]
    with socket.create_server(("", 0)) as free:
        port = str(free.getsockname()[1])
    lines = run("sh", "-c", sandbox.replace("8007", port))
    assert sorted(lines) == [*(f"page of {k}" for k in range(4)), *(f"result {k} joined 0 =" for k in (1, 2, 3))]
