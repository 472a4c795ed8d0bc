"""What the tests of the made packages share: where the packages are, and the harnesses of machines and demos."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "demos")]


def _named(variable: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no package: `nox -s packaging` and `nox -s jar` make them")
    return Path(named)


@pytest.fixture(scope="session")
def wheel() -> Path:
    return _named("GC_WHEEL")


@pytest.fixture(scope="session")
def tarball() -> Path:
    return _named("GC_TARBALL")


@pytest.fixture(scope="session")
def jar() -> Path:
    return _named("GC_JAR")
