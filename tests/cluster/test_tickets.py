"""Tickets as placement groups of a real Ray, on two computers without VMs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from computers import PORT, PROGRAMS, Cluster

pytestmark = pytest.mark.vms


def test_a_group_that_waits_goes_with_its_request(cluster: Cluster) -> None:
    one = cluster.computers[0]
    said = one.run("env", f"RAY_TMPDIR={one.folder}", sys.executable, PROGRAMS / "waiting.py", f"{one.ip}:{PORT}")
    assert json.loads(said.splitlines()[-1]) == [16, 1, 0, 0, 4]
    cluster.until_free()
