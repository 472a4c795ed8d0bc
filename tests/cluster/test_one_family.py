"""A family on several computers (network namespaces, each with a Ray node) is one family. Ray itself is not tested here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from computers import Cluster, Family

pytestmark = pytest.mark.vms


def is_one(cluster: Cluster, clones: int) -> None:
    """Each reaches all others, whose memory is the master's; barriers and reports are one family's."""
    family = Family(cluster, "family.py", clones)
    family.hears("synced")
    assert all(computer.processes("qemu-system") for computer in cluster.computers), "all have VMs"
    everybody = [[vmid, True, True] for vmid in range(clones + 1)]
    assert family.hears("master") == everybody
    reports = family.hears("reports")
    assert reports == [[*everybody, ["a clone's clone"]], *[everybody] * (clones - 1)]
    family.ends()
    cluster.until_free()


def test_a_family_on_two_computers_is_one(cluster: Cluster) -> None:
    is_one(cluster, 4)


def test_a_family_on_three_computers_is_one(make_cluster: Callable[..., Cluster]) -> None:
    with contextlib.closing(make_cluster(3)) as three:
        is_one(three, 6)
