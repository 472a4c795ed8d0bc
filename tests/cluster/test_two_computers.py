"""A family on two computers (network namespaces, each with a Ray node): it is one family, and a computer that is killed is
noticed and leaves nothing. Ray itself is not tested here."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from computers import HANG_GUARD_S, PORT, Cluster, what_is_missing

PROGRAM = Path(__file__).parent / "programs" / "family.py"
pytestmark = pytest.mark.vms


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := what_is_missing():
        pytest.skip(reason)
    cluster = Cluster()
    yield cluster
    cluster.close()


class Family:
    """A program that `gc run` has started."""

    def __init__(self, cluster: Cluster, *arguments: object) -> None:
        self._cluster = cluster
        self.process = cluster.gc(
            "run", "--hypervisor", "ray", "--address", f"{cluster.computers[0].ip}:{PORT}", "--place", "spread",
            "--memory", "192M", "--copy", f"{PROGRAM}:/root/family.py", "--", "python3", "/root/family.py", *arguments,
        )  # fmt: skip

    def hears(self, name: str) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it has ended ({self.process.wait(HANG_GUARD_S)}) and not said {name!r}"
        said, value = json.loads(line)
        assert said == name, line
        return value

    def ends(self) -> None:
        assert self.process.wait(HANG_GUARD_S) == 0
        assert self._cluster.machines() == []


def until_free(cluster: Cluster, wanted: dict[str, float]) -> None:
    limit = time.monotonic() + HANG_GUARD_S
    while (free := cluster.free()) != wanted:
        assert time.monotonic() < limit, f"{free}, not {wanted}"


def test_a_family_on_two_computers_is_one(cluster: Cluster) -> None:
    family = Family(cluster, 4)
    family.hears("synced")
    assert all(computer.processes("qemu-system") for computer in cluster.computers), "both have VMs"
    everybody = [[vmid, True, True] for vmid in range(5)]
    assert family.hears("master") == everybody
    reports = family.hears("reports")
    assert reports == [[*everybody, ["a clone's clone"]], everybody, everybody, everybody]
    family.ends()
    until_free(cluster, {"10.99.0.1": 8, "10.99.0.2": 8})


def test_a_computer_that_is_killed(cluster: Cluster) -> None:
    """Its VMs are lost, which breaks the barrier; the others live, and what is left of the cluster goes on."""
    family = Family(cluster, 4, "lose")
    family.hears("synced")
    victim = cluster.computers[1]  # not that of the host, which has room for the master
    victim.kill()
    before = time.monotonic()
    family.hears("broken")
    assert time.monotonic() - before < 5
    living = family.hears("living")
    assert 0 < len(living) < 4
    assert family.hears("ends") == [[vmid, "killed" if vmid in living else "lost"] for vmid in range(1, 5)]
    assert family.hears("again") == ["after the loss"]
    family.ends()
    cluster.join(victim)
    until_free(cluster, {"10.99.0.1": 8, "10.99.0.2": 8})
