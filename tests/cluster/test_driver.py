"""What the cluster's driver answers by itself, without a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import os
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray")

from gridcentric.hypervisors.ray.driver import RayDriver
from gridcentric.hypervisors.ray.member import RemoteDomain


def test_no_process_of_the_hosts_computer_is_a_vm() -> None:
    """A program outside of VMs that asks this host is asked after by its pid, while there are VMs."""
    nowhere: Any = None
    vm = RemoteDomain(7, 0, "family", "10.77.0.2", nowhere, nowhere)
    machines: Any = SimpleNamespace(all=lambda: [vm], get={7: vm}.get)
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        driver = RayDriver(loop, machines)
        assert driver.domain_of(os.getpid()) == 0
        assert driver.pid_of(7) == -1
