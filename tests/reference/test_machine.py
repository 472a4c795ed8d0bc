"""The rules under any order of calls: alone, and in lockstep with the C++ rules."""

from __future__ import annotations

import importlib.util
import os

import pytest
from hypothesis import settings
from machine import MOST_REPORTS, RulesMachine
from subjects import Cpp, Reference


class ReferenceMachine(RulesMachine):
    """gridcentric.reference alone: runs where nothing is compiled."""

    @staticmethod
    def make_subjects(cpus: int) -> list[object]:
        return [Reference(cpus, MOST_REPORTS)]


class LockstepMachine(RulesMachine):
    """gridcentric.reference and core/model, compared at each step."""

    @staticmethod
    def make_subjects(cpus: int) -> list[object]:
        return [Reference(cpus, MOST_REPORTS), Cpp(cpus, MOST_REPORTS)]


TestReference = ReferenceMachine.TestCase
TestLockstep = pytest.mark.skipif(
    importlib.util.find_spec("gridcentric._model") is None and "CI" not in os.environ,  # in CI it must be there
    reason="gridcentric._model is not built: pip install . builds it",
)(LockstepMachine.TestCase)
TestReference.settings = TestLockstep.settings = settings()
