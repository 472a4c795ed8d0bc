"""The package as a user gets it: the sdist is built from the checkout, installed outside of it into a new environment, used.

Runs alone (pytest tests/python/test_packaging.py): it takes minutes and needs a package index for the build requirements.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]
VERSION = (ROOT / "VERSION").read_text().strip()

PROGRAM = """
#include <gridcentric/gc-guest.h>
#include <stdio.h>
int main(void) { return printf("%s\\n", gc_version()) < 0; }
"""

CLONE = """
from gridcentric import guest
ticket = guest.request_ticket(2, 2, 1, 1000)
if guest.clone(ticket):
    guest.join(f"hello from {guest.vmid()}")
print([result.report for result in guest.wait(ticket)])
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GRIDCENTRIC", "VIRTUAL_"))}
    done = subprocess.run(command, cwd=cwd, env={**env, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", str(folder), str(ROOT), cwd=folder)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def installed(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the package in it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=True)
    run(str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", str(sdist), cwd=folder)
    return folder / "venv" / "bin"


def test_sdist(sdist: Path) -> None:
    assert sdist.name == f"gridcentric-{VERSION}.tar.gz"
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = [line.split()[1] for line in (ROOT / "core" / "sources.txt").read_text().splitlines() if line[:1].isalpha()]
    assert {
        "CMakeLists.txt",
        "pyproject.toml",
        "README.md",
        "VERSION",
        "core/sources.txt",
        "bindings-python/CMakeLists.txt",
        *listed,
    } <= names
    foreign = [name for name in names if name.startswith(("bindings-node", "tests", "build", "node_modules", ".")) and name]
    assert not foreign


def test_versions_agree(installed: Path, tmp_path: Path) -> None:
    python = str(installed / "python")
    assert run(python, "-c", "import gridcentric; print(gridcentric.__version__)", cwd=tmp_path).strip() == VERSION
    metadata = "from importlib.metadata import version; print(version('gridcentric'))"
    assert run(python, "-c", metadata, cwd=tmp_path).strip() == VERSION
    assert VERSION in run(str(installed / "gc"), "--version", cwd=tmp_path)


def test_gc_is_the_program_itself(installed: Path) -> None:
    assert (installed / "gc").read_bytes()[:4] == b"\x7fELF"


def test_c_program(installed: Path, tmp_path: Path) -> None:
    python = str(installed / "python")
    include, lib = run(python, "-m", "gridcentric", "--include", "--libs", cwd=tmp_path).split()
    (tmp_path / "program.c").write_text(PROGRAM)
    flags = ["-std=c99", "-Wall", "-Werror", f"-I{include}", f"-L{lib}", f"-Wl,-rpath,{lib}"]
    run("cc", *flags, "program.c", "-lgridcentric", "-o", "program", cwd=tmp_path)
    assert run("./program", cwd=tmp_path).strip() == VERSION


def test_where_things_are(installed: Path, tmp_path: Path) -> None:
    gc = run(str(installed / "python"), "-m", "gridcentric", "--gc", cwd=tmp_path).strip()
    assert str(installed.parent) in gc
    assert VERSION in run(gc, "--version", cwd=tmp_path)
    everything = run(str(installed / "python"), "-m", "gridcentric", cwd=tmp_path)
    assert all(word in everything for word in ("version", "include", "libs", gc))


def test_clone(installed: Path, tmp_path: Path) -> None:
    """With a private host: nothing was set up, and nothing is left."""
    out = run(str(installed / "python"), "-c", CLONE, cwd=tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
    assert out.strip() == "[b'hello from 1', b'hello from 2']"
