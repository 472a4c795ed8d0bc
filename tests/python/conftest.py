"""Runs functions of test files as masters that are really cloned (family.py), in both modes."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from family import run_master


@pytest.fixture(params=["pidns", "plain"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """run(function, *arguments): runs the function as a master and returns its result."""
    return functools.partial(run_master, request.param, tmp_path)
