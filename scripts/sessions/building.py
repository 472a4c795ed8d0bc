"""Shared by the sessions: the checkout, its parts and how they are built, how a command is run.

All sessions share the checkout's .venv and node_modules, so that they test what `make build` gives a user. `needs()` rebuilds a
part only if its source files have changed. It knows no session.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import nox

ROOT = Path(__file__).parents[2].resolve()
VENV = ROOT / ".venv"
PYTHON = str(VENV / "bin" / "python")
BUILD = ROOT / "build"
STAMPS = BUILD / "stamps"

# The files each part is made of: a change to one of them rebuilds the part.
CORE = ["VERSION", "CMakeLists.txt", "cmake", "core"]
PARTS: dict[str, list[str]] = {
    "dev": ["scripts/requirements-dev.txt"],
    "python": [*CORE, "pyproject.toml", "bindings-python", "autoscale", "demos"],
    "node": [*CORE, "package.json", "package-lock.json", "bindings-node", "autoscale"],
}
NOT_SOURCES = {"build", "core.packed", "node_modules", "__pycache__", ".mypy_cache", ".pytest_cache", ".hypothesis"}


def files_of(paths: Iterable[str]) -> Iterable[Path]:
    for name in paths:
        path = ROOT / name
        if path.is_file():
            yield path
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(set(folders) - NOT_SOURCES)
            if Path(folder) == ROOT / "bindings-node":  # the packed copy of the core
                folders[:] = [f for f in folders if f not in ("core", "demos")]
            yield from (Path(folder) / n for n in sorted(names) if not n.endswith((".pyc", ".so", ".node")))


def digest(paths: Iterable[str]) -> str:
    sum_ = hashlib.sha256(str(ROOT).encode())
    for path in files_of(paths):
        sum_.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return sum_.hexdigest()


def ccache() -> list[str]:
    return ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []


def environment() -> dict[str, str]:
    """The environment of everything that the sessions run: the checkout's own venv and node_modules come first."""
    path = f"{VENV / 'bin'}:{ROOT / 'node_modules' / '.bin'}:{os.environ['PATH']}"
    env = {"PATH": path, "VIRTUAL_ENV": str(VENV), "PYTHONDONTWRITEBYTECODE": "1"}
    if shutil.which("ccache"):
        env |= {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache", "CXX": "ccache g++", "CCACHE_NOHASHDIR": "1"}
        env |= {"CCACHE_BASEDIR": "/", "CCACHE_SLOPPINESS": "time_macros"}
    return env


def environment_of_cmake() -> dict[str, str]:
    """The same with the compiler alone: the launcher's variable adds ccache. Each language's build names the compiler in the
    same way, so that it finds the core's objects that another has made in the cache."""
    return environment() | {"CXX": "g++"}


def run(session: nox.Session, *command: str, env: dict[str, str] | None = None) -> None:
    session.run(*command, env=environment() | (env or {}), external=True)


def node_under_test() -> str:
    """GC_NODE selects it; tests that pytest starts find it by themselves (tests/conftest.py)."""
    return os.environ.get("GC_NODE") or "node"


def needs(session: nox.Session, *parts: str) -> None:
    """Build the parts that are missing or out of date."""
    if not Path(PYTHON).exists():
        subprocess.run([str(ROOT / "scripts" / "bootstrap")], check=True)
    for part in parts:
        make_once(session, part, digest(PARTS[part]), {"dev": make_dev, "python": make_python, "node": make_node}[part])


def make_once(session: nox.Session, part: str, now: str, make: Callable[[nox.Session], None]) -> None:
    """Skips the work if it was already done for the present files."""
    STAMPS.mkdir(parents=True, exist_ok=True)
    stamp = STAMPS / part
    if stamp.exists() and stamp.read_text() == now:
        return
    session.log(f"building: {part}")
    stamp.unlink(missing_ok=True)
    make(session)
    stamp.write_text(now)


def make_dev(session: nox.Session) -> None:
    run(session, PYTHON, "-m", "pip", "install", "--quiet", "-r", "scripts/requirements-dev.txt")


def make_python(session: nox.Session) -> None:
    # The build folder and the path of pybind11 are permanent, so that only changed files are recompiled.
    required = re.search(r"^requires = (\[.*?\])$", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    assert required, "pyproject.toml names no build-system.requires"
    run(session, PYTHON, "-m", "pip", "install", "--quiet", *ast.literal_eval(required[1]))
    # In the long form, because Debian 12's pip does not know -C.
    kept = ["--no-build-isolation", f"--config-settings=build-dir={BUILD / 'python'}"]
    parts = ".[autoscale,demos,qemu]"
    session.run(PYTHON, "-m", "pip", "install", "--quiet", *kept, parts, env=environment_of_cmake(), external=True)


def make_node(session: nox.Session) -> None:
    needs(session, "python")  # the addon is linked with the core that was built there
    core = BUILD / "python" / "libgridcentric_static.a"
    if core.exists():
        core.touch()  # it is made of these sources, though git may have written some of them again
    # node-gyp's paths are relative in the checkout and absolute elsewhere, so ccache finds the objects for any checkout.
    env = {"CCACHE_BASEDIR": str(ROOT)}
    if Path("/usr/include/node/node_api.h").exists():
        env["npm_config_nodedir"] = "/usr"
    run(session, "npm", "install", "--no-audit", "--no-fund", "--foreground-scripts", "--loglevel=error", env=env)


def pytest(session: nox.Session, *args: str, env: dict[str, str] | None = None) -> None:
    # The guard against hangs is generous: it never decides between right and wrong, only ends what hangs.
    run(session, PYTHON, "-m", "pytest", "-q", "--timeout=300", *args, *session.posargs, env=env)


# For tests that wait more than they work, each with its own hosts, folders and ports.
SIDE_BY_SIDE = ("-n", "2")


def make_core_tests(session: nox.Session, name: str, options: Iterable[str] = (), targets: Iterable[str] = ()) -> str:
    """The core with its tests and testees, or these targets of it, in build/NAME."""
    folder = str(BUILD / name)
    run(session, "cmake", "-G", "Ninja", "-S", ".", "-B", folder, "-DGC_TESTS=ON", *ccache(), *options, env={"CXX": "g++"})
    run(session, "cmake", "--build", folder, *(["--target", *targets] if targets else []))
    return folder
