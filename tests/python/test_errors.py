"""The exceptions are the table of errors: nothing more, nothing else."""

from __future__ import annotations

import builtins
import errno
import pickle
import re
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
    assert error.errno == getattr(errno, number)  # an OSError of one argument has none of its own
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
