"""The Python package as users get it: the wheel in a new environment, used from Python, C and the shell; and the sdist.

GC_WHEEL names the wheel (nox -s packaging builds it). Needs a package index for the build requirements.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]
VERSION = (ROOT / "VERSION").read_text().strip()
LARGEST = 6_000_000  # bytes

CLONE = """
from gridcentric import guest
ticket = guest.request_ticket(2, 2, 1, 1000)
if guest.clone(ticket):
    guest.join(f"hello from {guest.vmid()}")
print([result.report for result in guest.wait(ticket)])
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GRIDCENTRIC", "VIRTUAL_"))}
    env.pop("LD_LIBRARY_PATH", None)
    done = subprocess.run(command, cwd=cwd, env={**env, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(package: Path, folder: Path, *options: str) -> Path:
    """The bin folder of an environment with the package installed."""
    venv.create(folder / "venv", with_pip=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", *options]
    run(*pip, str(package), cwd=folder, CXX="g++")
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def wheel() -> Path:
    named = os.environ.get("GC_WHEEL")
    if not named:
        pytest.skip("GC_WHEEL names no wheel: nox -s packaging builds one")
    return Path(named)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", str(folder), str(ROOT), cwd=folder)
    (archive,) = folder.iterdir()
    return archive


# -- the wheel


def test_wheel_is_small_and_for_old_systems(wheel: Path) -> None:
    tag = re.search(r"-manylinux_2_(\d+)_x86_64\.whl$", wheel.name)
    assert tag, wheel.name
    assert int(tag[1]) <= 31
    assert wheel.stat().st_size < LARGEST


def test_wheel_has_each_file_once_and_stripped(wheel: Path, tmp_path: Path) -> None:
    seen: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    binaries = [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
    assert {path.name.partition(".")[0] for path in binaries} >= {
        "gc",
        "gc-reaper",
        "gc-agent",
        "gc-launcher",
        "libgridcentric",
        "libgridcentric-run",
        "_native",
    }
    for path in binaries:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest not in seen, f"{path.name} is {seen[digest]}"
        seen[digest] = path.name
        sections = run("readelf", "--sections", "--wide", str(path), cwd=tmp_path)
        assert not re.search(r" \.(symtab|debug_info)\s", sections), path.name


def test_versions_agree(installed: Path, tmp_path: Path) -> None:
    python = str(installed / "python")
    assert run(python, "-c", "import gridcentric; print(gridcentric.__version__)", cwd=tmp_path).strip() == VERSION
    metadata = "from importlib.metadata import version; print(version('gridcentric'))"
    assert run(python, "-c", metadata, cwd=tmp_path).strip() == VERSION


def test_the_command(installed: Path, tmp_path: Path) -> None:
    """By both names, from anywhere, and through a link (as pipx makes)."""
    wanted = f"gc (gridcentric) {VERSION}\n"
    (tmp_path / "link").symlink_to(installed / "gc")
    for command in (str(installed / "gc"), str(installed / "gridcentric"), "./link"):
        assert run(command, "--version", cwd=tmp_path) == wanted
    assert run("gc", "--version", cwd=tmp_path, PATH=f"{installed}:/usr/bin:/bin") == wanted
    assert run("sh", "gc", "--version", cwd=installed) == wanted


def test_the_command_of_a_package_in_a_folder_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """pip install --target, --prefix."""
    for option, command in (("--target", "bin/gc"), ("--prefix", "bin/gridcentric")):
        place = tmp_path / option
        run(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--ignore-installed",
            option,
            str(place),
            str(wheel),
            cwd=tmp_path,
        )
        assert VERSION in run(str(place / command), "--version", cwd=tmp_path)


def test_import_is_quick(installed: Path) -> None:
    """Below four times Python's own startup, which is 15 ms; in CPU time, because other programs run too."""

    def cost(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([str(installed / "python"), "-I", "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    rounds = [(cost("pass"), cost("import gridcentric; gridcentric.guest.vmid")) for _ in range(15)]  # at one speed of the CPU
    nothing, ours = (min(costs) for costs in zip(*rounds))
    assert ours < 4 * nothing + 0.01, f"{ours * 1000:.0f} ms with gridcentric, {nothing * 1000:.0f} ms without"


def test_clone(installed: Path, tmp_path: Path) -> None:
    """With a private host: nothing is set up, and nothing is left."""
    out = run(str(installed / "python"), "-c", CLONE, cwd=tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
    assert out.strip() == "[b'hello from 1', b'hello from 2']"


def test_gc_run_offers_gc_to_what_it_runs(installed: Path, tmp_path: Path) -> None:
    paths = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert run(str(installed / "gc"), "run", "--", "sh", "-c", "gc vmid", cwd=tmp_path, **paths) == "0\n"


# -- C programs against what the wheel brings


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The README's example, as printed."""
    blocks = re.findall(r"^```c\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    program = tmp_path / "program.c"
    program.write_text(max(blocks, key=len))
    return program


def clones(program: Path) -> bool:
    lines = run(str(program), cwd=program.parent, XDG_RUNTIME_DIR=str(program.parent)).splitlines()
    return len(lines) == 5 and lines[-1] == "hello, I am the master of 4"


def test_c_by_the_package(installed: Path, example: Path) -> None:
    """The README's command line."""
    command = "cc -std=c99 -Wall -Wextra -Werror program.c -o program $(python -m gridcentric --cflags --libs)"
    run("sh", "-c", command, cwd=example.parent, PATH=f"{installed}:{os.environ['PATH']}")
    assert clones(example.parent / "program")


def test_c_by_pkg_config(installed: Path, example: Path) -> None:
    command = """export PKG_CONFIG_PATH=$(python -m gridcentric --pkg-config-path)
    cc program.c -o program $(pkg-config --cflags --libs gridcentric)
    pkg-config --modversion gridcentric"""
    assert VERSION in run("sh", "-ec", command, cwd=example.parent, PATH=f"{installed}:{os.environ['PATH']}")
    assert clones(example.parent / "program")


def test_c_by_cmake(installed: Path, example: Path) -> None:
    (example.parent / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(user LANGUAGES C)\nfind_package(gridcentric 0.1 REQUIRED)\n"
        "add_executable(program program.c)\ntarget_link_libraries(program PRIVATE gridcentric::gridcentric)\n"
    )
    command = "cmake -B build -DCMAKE_PREFIX_PATH=$(python -m gridcentric --prefix) . && cmake --build build"
    run("sh", "-c", command, cwd=example.parent, PATH=f"{installed}:{os.environ['PATH']}")
    assert clones(example.parent / "build" / "program")


def test_where_things_are(installed: Path, tmp_path: Path) -> None:
    python = str(installed / "python")
    gc = run(python, "-m", "gridcentric", "--gc", cwd=tmp_path).strip()
    assert Path(gc).read_bytes()[:4] == b"\x7fELF"
    everything = run(python, "-m", "gridcentric", cwd=tmp_path)
    assert all(word in everything for word in (VERSION, "cflags", "libs", "pkg-config-path", "prefix", gc))


# -- from source


def test_sdist(sdist: Path) -> None:
    assert sdist.name == f"gridcentric-{VERSION}.tar.gz"
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    lines = (ROOT / "core" / "sources.txt").read_text().splitlines()
    listed = [line.split()[1] for line in lines if line[:1].isalpha() and not line.startswith("flag")]
    assert {
        "CMakeLists.txt",
        "pyproject.toml",
        "README.md",
        "VERSION",
        "core/sources.txt",
        "bindings-python/CMakeLists.txt",
        "bindings-python/launcher.in",
        "demos/run",
        *listed,
    } <= names
    foreign = [name for name in names if name.startswith(("bindings-node", "tests", "build", "node_modules", ".")) and name]
    assert not foreign


def test_sdist_is_built_by_any_compiler(sdist: Path, tmp_path: Path) -> None:
    # In a folder as deep as that of `make build`, so that the compiler's cache has what has not changed.
    installed = install(sdist, tmp_path, "--config-settings=build-dir=build/python")
    out = run(str(installed / "python"), "-c", CLONE, cwd=tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
    assert out.strip() == "[b'hello from 1', b'hello from 2']"
    assert VERSION in run(str(installed / "gridcentric"), "--version", cwd=tmp_path)
