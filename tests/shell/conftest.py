"""gc in the master of a family (in_domain.py), with each host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from in_domain import Shell


@pytest.fixture
def shell(host: Any) -> Iterator[Shell]:
    made = Shell(host)
    yield made
    made.close()
