"""What ends on a cluster of two computers: VMs that are lost are lost at once, the others go on, and nothing is left of
them on any computer."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from computers import HANG_GUARD_S, PUBLISHED, Cluster, Computer, Family

pytestmark = pytest.mark.vms
KILLS = int(os.environ.get("GC_KILLS", "1"))
NOTICED_S = 5


def kill_actor(computer: Computer) -> None:
    (actor,) = computer.processes("ray::Actor")
    os.kill(actor, signal.SIGKILL)


def loses_some(cluster: Cluster, strike: Callable[[Computer], None]) -> None:
    """The VMs of the computer that is struck are lost, which breaks the barrier; the others live, and what is left goes on."""
    family = Family(cluster, "family.py", 4, "lose")
    family.hears("synced")
    strike(cluster.computers[1])  # not that of the host, which has room for the master
    before = time.monotonic()
    family.hears("broken")
    assert time.monotonic() - before < NOTICED_S
    living = family.hears("living")
    assert 0 < len(living) < 4
    assert family.hears("ends") == [[vmid, "killed" if vmid in living else "lost"] for vmid in range(1, 5)]
    assert family.hears("again") == ["after the loss"]
    family.ends()


@pytest.mark.parametrize("time_", range(KILLS))
def test_a_computer_that_is_killed(cluster: Cluster, time_: int) -> None:
    loses_some(cluster, Computer.kill)
    assert cluster.computers[1].processes() == []
    cluster.join(cluster.computers[1])
    cluster.until_free()


def test_an_actor_that_dies_alone(cluster: Cluster) -> None:
    loses_some(cluster, kill_actor)
    cluster.until_free()


def test_a_trunk_that_is_cut_for_ten_seconds(cluster: Cluster) -> None:
    """What can't be reached is an error meanwhile; nobody is lost. A published port leads to the master all the time."""
    family = Family(cluster, "reach.py", 4)
    assert family.hears("answered") == [4, []]
    ask = f"import socket; print(socket.create_connection(('127.0.0.1', {PUBLISHED})).recv(9))"
    cluster.computers[1].run("ip", "link", "set", "cable", "down")
    assert cluster.computers[0].run(sys.executable, "-c", ask) == "b'0'\n"
    time.sleep(10)  # how long it is cut, not for something to happen
    cluster.computers[1].run("ip", "link", "set", "cable", "up")
    some, errors = family.hears("answered")
    assert 0 < some < 4
    assert any("No route to host" in error for error in errors), errors
    while some != 4:
        some, errors = family.hears("answered")
    assert family.hears("ends") == [[vmid, "killed"] for vmid in range(1, 5)]
    family.ends()
    cluster.until_free()


def test_a_head_that_dies(make_cluster: Callable[..., Cluster]) -> None:
    """Ray ends its cluster, and the host and all VMs end with it."""
    with contextlib.closing(make_cluster()) as cluster:
        family = Family(cluster, "family.py", 4, "lose")
        family.hears("synced")
        (head,) = cluster.computers[0].processes("gcs_server")
        os.kill(head, signal.SIGKILL)
        family.process.wait(HANG_GUARD_S)
        limit = time.monotonic() + HANG_GUARD_S
        while cluster.machines():
            assert time.monotonic() < limit, "VMs are left"
            time.sleep(0.1)
