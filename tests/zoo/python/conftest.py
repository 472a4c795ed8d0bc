"""Finds the family of tests/python, whose masters are really cloned."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))

from family import run_master


@pytest.fixture(params=["pidns", "plain"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """run(function, *arguments): what the function returned as a master."""
    return functools.partial(run_master, request.param, tmp_path)
