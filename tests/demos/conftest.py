"""The helpers of this folder are importable; the chat's tests run for both languages."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["node", "python"])
def language(request: pytest.FixtureRequest) -> str:
    return request.param
