"""What is booted for the VMs is shared with the conformance suite: it goes when both have ended."""

from __future__ import annotations

import sys


def pytest_unconfigure() -> None:
    machines = sys.modules.get("runner.vms")
    if machines is not None:
        machines.close_nurseries()
