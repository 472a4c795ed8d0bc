"""What our tests are made of when they run in another system: files of this computer, each at the path it has here.

Python (the one that runs this), Node, the C libraries they are linked with, what `make build` and the core's build made.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CORE = Path(os.environ.get("GC_BUILD", CHECKOUT / "build" / "core")).resolve()
PROGRAMS = [CORE / "tests/live_clone/live-clone-testees", CORE / "gc", CORE / "gc-reaper"]
_LEFT_OUT = {"test", "idlelib", "ensurepip", "lib2to3", "turtledemo", "tkinter", "pip", "setuptools", "mypy", "ruff"}
_TESTS = ("tests/live_clone", "tests/kernels", "tests/conftest.py")
_PACKAGES = ("gridcentric", "pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments")


def _tree(folder: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")]
        yield from (Path(at) / name for name in names if not name.endswith((".a", ".h", ".pyi")))
        yield from (Path(at) / name for name in folders if (Path(at) / name).is_symlink())


def _with_targets(path: Path) -> Iterator[Path]:
    """A file, and what it is a link to."""
    yield path
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield path


def python_files() -> Iterator[Path]:
    base = Path(sys.base_prefix).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    yield from _with_targets(Path(sys.executable))
    yield from _with_targets(base / "bin" / version)
    yield from (path for path in (base / "lib").glob("libpython3*.so*"))
    yield from (p for p in _tree(base / "lib" / version) if "site-packages" not in p.parts)
    prefix = Path(sys.prefix)
    yield prefix / "pyvenv.cfg"
    packages = prefix / "lib" / version / "site-packages"
    for name in _PACKAGES:
        yield from _tree(packages / name)
        yield from packages.glob(f"{name}.py")
    yield packages / "py.py"
    yield packages / "pytest_timeout.py"
    infos = [
        info for info in packages.glob("*.dist-info") if info.name.startswith(("gridcentric-", "pytest-", "pytest_timeout-"))
    ]
    yield from (path for info in infos if "xdist" not in info.name for path in _tree(info))


def node_files() -> Iterator[Path]:
    node = shutil.which("node")
    if node:
        yield from _with_targets(Path(node))
    module = CHECKOUT / "node_modules" / "gridcentric"
    if node and module.exists():
        yield from _with_targets(module)
        yield from (p for p in _tree(module.resolve()) if "node_modules" not in p.parts[len(module.resolve().parts) :])
        for name in json.loads((module / "package.json").read_text())["dependencies"]:
            yield from _tree(CHECKOUT / "node_modules" / name)


def test_files() -> Iterator[Path]:
    for name in _TESTS:
        path = CHECKOUT / name
        yield from [path] if path.is_file() else (p for p in _tree(path) if "__pycache__" not in p.parts)


@functools.cache
def _linked_with(path: str) -> tuple[str, ...]:
    said = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    return tuple(re.findall(r"(?:=> |^\s*)(/\S+) \(", said, re.MULTILINE))


def is_program(path: Path) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def libraries_of(files: Iterable[Path]) -> list[Path]:
    """The shared libraries, with the dynamic linker, that these programs and modules are linked with here."""
    return [Path(name) for name in sorted({name for path in files if is_program(path) for name in _linked_with(str(path))})]


def all_files() -> list[Path]:
    return list(dict.fromkeys([*python_files(), *node_files(), *test_files(), *PROGRAMS]))


def environment() -> dict[str, str]:
    """What the tests need of it."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "NODE_PATH": str(CHECKOUT / "node_modules"),
        "GC_BUILD": str(CORE),
        "GC_HANG_SECONDS": "900",  # of an emulated computer, on one that is shared
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def play(*tests: str, some: str = "") -> list[str]:
    """The command that plays them: with no plugin but the one that guards against hangs."""
    words = ["-q", "--tb=short", "--color=no", "-p", "no:cacheprovider", "--timeout=1800"]
    return [sys.executable, "-m", "pytest", *words, *tests, *(["-k", some] if some else [])]
