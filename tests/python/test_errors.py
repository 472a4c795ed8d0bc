"""The exceptions are exactly those of the error table."""

from __future__ import annotations

import builtins
import errno
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gridcentric
from gridcentric import _native, _paths

TABLE = re.findall(
    r'^GC_ERROR\((\w+), (\w+), (\d+), (\w+), (\w+), "([^"]*)"\)$',
    (_paths.INCLUDE / "gridcentric" / "errors.def").read_text(),
    re.MULTILINE,
)


def test_the_table_was_read() -> None:
    assert len(TABLE) == len(_native.ERRORS) > 10


@pytest.mark.parametrize(("name", "number", "exit_code", "python", "base", "text"), TABLE, ids=[row[0] for row in TABLE])
def test_class_of_a_row(name: str, number: str, exit_code: str, python: str, base: str, text: str) -> None:
    cls = getattr(gridcentric, python)
    assert issubclass(cls, gridcentric.Error)
    assert issubclass(cls, getattr(builtins, base))
    assert (cls.code, cls.errno, cls.exit_code) == (name.lower(), getattr(errno, number), int(exit_code))
    assert cls.__doc__ == text
    error = cls("what was given")
    assert str(error) == "what was given"
    assert error.errno == getattr(errno, number)  # an OSError with one argument has none itself
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls and str(copy) == "what was given"


def test_wrong_type_is_both() -> None:
    assert issubclass(gridcentric.WrongArgumentType, gridcentric.InvalidArgument)
    assert issubclass(gridcentric.WrongArgumentType, TypeError)
    assert gridcentric.WrongArgumentType.code == "invalid_argument"


def test_stub_has_the_classes() -> None:
    stub = (Path(gridcentric.__file__).parent / "_native.pyi").read_text()
    for cls in _native.ERRORS:
        bases = ", ".join(b.__name__ for b in cls.__bases__)
        assert f"class {cls.__name__}({bases})" in stub


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fork'"):
        gridcentric.fork  # type: ignore[attr-defined]  # noqa: B018
    assert "guest" in dir(gridcentric)


def test_the_limit_of_open_files_is_named() -> None:
    # A program that cannot open anything more when it makes its first call, and one that can open a few more descriptors.
    script = """
import os, resource, sys
import gridcentric
from gridcentric import guest
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free + int(sys.argv[1]),) * 2)
try:
    guest.vmid()
except gridcentric.HostUnreachable as error:
    print(error)
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
    for more in ("0", "2"):
        run = subprocess.run([sys.executable, "-c", script, more], env=env, capture_output=True, text=True, check=True)
        assert "Too many open files: this process has reached its limit (ulimit -n)" in run.stdout, run
