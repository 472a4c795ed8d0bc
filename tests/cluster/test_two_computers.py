"""A family on two computers (network namespaces, each with a Ray node) is one family. Ray itself is not tested here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from computers import Cluster, Family

pytestmark = pytest.mark.vms


def test_a_family_on_two_computers_is_one(cluster: Cluster) -> None:
    family = Family(cluster, "family.py", 4)
    family.hears("synced")
    assert all(computer.processes("qemu-system") for computer in cluster.computers), "both have VMs"
    everybody = [[vmid, True, True] for vmid in range(5)]
    assert family.hears("master") == everybody
    reports = family.hears("reports")
    assert reports == [[*everybody, ["a clone's clone"]], everybody, everybody, everybody]
    family.ends()
    cluster.until_free()
