"""Runs the checkout's own tests with another Node: those of Node, those of the autoscaler, and the real chat.

They cover what the programs of tests/platform are too small for. It knows what a suite prints at its end, nothing of its tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sessions.building import PYTHON, ROOT

from . import runtimes
from .places import Here, Ran

TESTS = ROOT / "tests"
PYTEST = [PYTHON, "-m", "pytest", "-q", "--timeout=300", "-k", "node"]


@dataclass(frozen=True)
class Suite:
    command: list[str]
    passed: str  # matches their number in the output


def suites(node: str) -> dict[str, Suite]:
    own = sorted(str(path) for path in (TESTS / "node").glob("*.test.js") if path.name != "packaging.test.js")
    with_pytest = {"autoscale": "autoscale", "chat": "demos/test_chat.py"}
    return {
        "tests": Suite([node, "--test", "--test-reporter=tap", "--test-timeout=300000", *own], r"^# pass (\d+)$"),
        **{name: Suite([*PYTEST, str(TESTS / path)], r"^(\d+) passed") for name, path in with_pytest.items()},
    }


def play(name: str, version: str, mode: str) -> tuple[int, Ran]:
    """How many tests passed, and the suite's output; 0 if one has failed."""
    node = str(runtimes.node(version))
    suite = suites(node)[name]
    # Tests run as for a developer: from the checkout, with what `make build` has built.
    ran = Here(["env", "-C", str(ROOT)]).run(suite.command, {"GC_NODE": node, "GRIDCENTRIC_CLONE_MODE": mode})
    found = re.search(suite.passed, ran.output, re.MULTILINE)
    return int(found[1]) if found and ran.status == 0 else 0, ran


def failed(ran: Ran) -> list[str]:
    """The names of the tests that did not pass."""
    found = re.findall(r"^(?:not ok \d+ - (.+)|FAILED \S*/(\S+))", ran.output, re.MULTILINE)
    return [one or other for one, other in found if not (one or other).endswith(".test.js")]
