"""The testees of the live clone, a Python and a Node program on kernels of Debian's releases, in VMs.

GC_KERNELS names the kernels (default: all of kernels.SUITES), GC_TESTEES the testees that are played (a -k expression of
pytest; default: all, from the main thread).
"""

from __future__ import annotations

import os

import pytest

from kernels import parts, vm
from kernels.kernels import SUITES, kernel, missing_tools

KERNELS = os.environ.get("GC_KERNELS", " ".join(SUITES)).split()
TESTEES = os.environ.get("GC_TESTEES", "not thread-")
PLAYED = [
    parts.play("tests/live_clone/test_testees.py", some=TESTEES),
    parts.play("tests/kernels/programs"),
]

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=f"there is no {missing_tools()} here")


@pytest.mark.parametrize("version", KERNELS)
def test_kernel(version: str) -> None:
    ran = vm.run(kernel(version), PLAYED, parts.environment())
    assert ran.statuses == [0] * len(PLAYED), ran.console[-12000:]
