"""What to do about a part that is not built."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


class Missing(Exception):
    """Something the suite needs is not built; the text says what would build it."""


def without(reason: Missing) -> NoReturn:
    """It fails the test where it counts, and skips it at a developer's desk."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(reason), pytrace=False)
    pytest.skip(str(reason))
