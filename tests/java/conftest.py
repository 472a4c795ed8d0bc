"""The testees, compiled, and the JVMs that they run on: see jvms.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from jvms import Java, compile_java, jvms, without


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_java(sorted((Path(__file__).parent / "testees").glob("*.java")), tmp_path_factory.mktemp("classes"))


@pytest.fixture(params=["pidns", "plain"])
def mode(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(params=list(jvms()))
def java(request: pytest.FixtureRequest, classes: Path, tmp_path: Path, mode: str) -> Java:
    command = jvms()[request.param]
    if not command:
        without("there is no java")
    return Java(command, classes, tmp_path, mode)
