"""A sandbox for each user that can be tried, and nothing left when its test is over."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))

from sandboxes import USERS, Sandbox, sandbox_of


@pytest.fixture(params=USERS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    yield from sandbox_of(request.param)


@pytest.fixture(params=["pidns", "plain"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def no_mount_is_left() -> Iterator[None]:
    yield
    assert "gridcentric-" not in Path("/proc/self/mountinfo").read_text(), os.getpid()
