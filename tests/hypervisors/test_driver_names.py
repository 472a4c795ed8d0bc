"""No driver is known by its name outside its own folder: host, guest and gc ask for what one can do (gridcentric/drivers.hpp,
the entry points of gridcentric.hypervisors)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = sorted(
    {
        *re.findall(r"^driver \S*/(\w+)\.cpp$", (ROOT / "core" / "sources.txt").read_text(), re.M),
        *(path.parent.name for path in ROOT.glob("bindings-python/gridcentric/hypervisors/*/__init__.py")),
    }
)
# Of drivers whose name is a word of the language only a literal is a name, as it is spelt: "Process" is a class of Python's.
WORDS = "|".join(f'(?-i:"{name}")' if name == "process" else rf"\b{name}\b" for name in DRIVERS)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)


def own(path: Path) -> bool:
    """Is this file a driver's own?"""
    return any(name in (*path.parts, path.stem) for name in DRIVERS)


def sources(folder: str, *endings: str) -> list[Path]:
    found = [
        path.relative_to(ROOT)
        for path in (ROOT / folder).rglob("*")
        if path.suffix in endings and not own(path.relative_to(ROOT))
    ]
    assert found, f"no sources in {folder}"
    return sorted(found)


def code_of(path: Path) -> str:
    """The file without its comments, with its lines."""
    return COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), (ROOT / path).read_text())


def names_in_python(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Constant) and node.value in DRIVERS:
            yield f"{path}:{node.lineno}: {node.value!r}"
        elif isinstance(node, ast.ImportFrom) and any(f"hypervisors.{name}" in (node.module or "") for name in DRIVERS):
            yield f"{path}:{node.lineno}: imports {node.module}"


def test_there_are_drivers() -> None:
    assert {"fake", "process", "qemu", "ray"} <= set(DRIVERS)


@pytest.mark.parametrize("folder", ["core", "bindings-python/src", "bindings-node/src"])
def test_no_driver_is_named_in_cpp(folder: str) -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in sources(folder, ".cpp", ".hpp", ".h", ".def")
        for number, line in enumerate(code_of(path).splitlines(), 1)
        if re.search(WORDS, line, re.I)
    ]
    assert found == []


def test_no_driver_is_named_in_the_python_package() -> None:
    found = [name for path in sources("bindings-python/gridcentric", ".py") for name in names_in_python(path)]
    assert found == []
