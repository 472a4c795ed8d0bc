"""The rows of the ray hypervisor: computers that are network namespaces of this one with a Ray node each (as root). They share
its cores, so that another computer adds work and no speed. What is measured is in a process on the first: this file as a
program.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from gridcentric.hypervisors.qemu.host import MachineHost

from .qemu import vms, where
from .report import Figure
from .servers import ROOT

OBJECT_MIB = 100  # about what the clones of a VM with Node start from
MIB = 1 << 20
CPUS = 8  # of each computer (tests/cluster)
Measured = dict[str, float]  # medians, ms


def cluster() -> list[Figure]:
    """tickets and VMs with Node on two computers beside one, all answered; an object of Ray's store on two beside one"""
    sys.path.insert(0, str(ROOT / "tests" / "cluster"))
    from computers import what_is_missing

    if reason := what_is_missing():
        print(f"  skipped: {reason}", file=sys.stderr)
        return []
    alone = asyncio.run(_vms(MachineHost, CPUS))
    one, two, three = _measured(1, "vms"), _measured(2, "vms"), _measured(3, "objects")

    def figure(what: str, of: str, beside: str, beside_ms: float, bar: str = "", met: bool | None = None) -> Figure:
        return Figure("cluster", f"{what} ({where()})", two[of], "ms", beside, beside_ms, bar, met, details)

    details: dict[str, object] = {"qemu": alone, "one": one, "two": two}
    cloned, again = two["cloned"] / one["cloned"], "of all CPUs, which were released just before"
    return [
        figure("a ticket with room", "room", "the qemu hypervisor", alone["room"], "below 20 ms", two["room"] < 20),
        figure("the same, of all that Ray does for it", "group", "a cluster of one", one["group"]),
        figure(f"a ticket {again}", "again", "Ray's group alone", two["group_again"], "no second", two["most"] < 500),
        figure("the same, the longest of 10", "most", "a cluster of one", one["most"]),
        figure("1 -> 8 VMs with a Node server, all answered", "cloned", "a cluster of one", one["cloned"], "within 1.5x",
               cloned <= 1.5),
        figure("the master's pause in it", "pause", "the qemu hypervisor", alone["pause"], "below 25 ms", two["pause"] < 25),
        figure("of it, saving its devices", "save", "a cluster of one", one["save"]),
        figure("of it, copying its memory", "copy", "a cluster of one", one["copy"]),
        Figure("cluster", f"an object of {OBJECT_MIB} MiB stored and on two other computers", three["two"], "ms",
               "on one other", three["one"]),
    ]  # fmt: skip


def _measured(computers: int, what: str) -> Measured:
    """By this file as a program on the first of that many computers."""
    from computers import PORT, Cluster

    with contextlib.closing(Cluster(computers)) as there:
        one = there.computers[0]
        command = [sys.executable, "-m", "bench.cluster", f"{one.ip}:{PORT}", what]
        inside = one.inside("env", f"RAY_TMPDIR={one.folder}", *command)
        said = subprocess.run(inside, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    # Ray writes its warnings there too.
    [line] = [line for line in said.splitlines() if line.startswith('{"')]
    measured: Measured = json.loads(line)
    return measured


async def _vms(make: Callable[..., MachineHost], cpus: int) -> Measured:
    """Tickets and clones of a VM with Node. cpus: that tickets can get."""
    async with vms(make=make) as [vm]:
        await vm.tickets(1, 5)
        room, again = await vm.tickets(1, 50), (await vm.tickets(cpus, 11))[1:]
        cloned = []
        for _ in range(5):
            cloned.append(await vm.clone(8))
            await vm.ask(vm.address, "/end")
        last = list(vm.host.machines.pauses)[-5:]
    every = {"room": room, "again": again, "cloned": cloned}
    every |= {stage: [getattr(times, stage) for times in last] for stage in ("pause", "save", "copy")}
    return {name: statistics.median(values) for name, values in every.items()} | {"most": max(again)}


def _groups(vms: int) -> Measured:
    """What Ray alone takes for a ticket's group: of one VM, and of all, when such a one was removed just before."""
    from ray.util.placement_group import placement_group, remove_placement_group

    def asked(many: int, times: int) -> float:
        took = []
        for _ in range(times):
            start = time.perf_counter()
            group = placement_group([{"CPU": 1, "memory": 304 * MIB}] * many, strategy="SPREAD")
            while not group.wait(60):
                pass
            took.append((time.perf_counter() - start) * 1e3)
            remove_placement_group(group)
        return statistics.median(took[1:])

    return {"group": asked(1, 51), "group_again": asked(vms, 11)}


def _objects() -> Measured:
    """One object, fetched by one other computer and by two at once."""
    import numpy
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0)
    def fetch(data: Any) -> int:
        return len(data)

    own = ray.get_runtime_context().get_node_id()
    names = [node["NodeID"] for node in ray.nodes() if node["NodeID"] != own]
    others = [fetch.options(scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)) for name in names]
    ray.get([other.remote(b"") for other in others])  # so that there are workers
    medians = {}
    for name, many in (("one", 1), ("two", 2)):
        times = []
        for _ in range(5):
            data = numpy.frombuffer(os.urandom(OBJECT_MIB * MIB), dtype=numpy.uint8)
            start = time.perf_counter()
            stored = ray.put(data)
            ray.get([other.remote(stored) for other in others[:many]])
            times.append((time.perf_counter() - start) * 1e3)
        medians[name] = statistics.median(times)
    return medians


def main() -> None:
    from gridcentric.hypervisors.ray.host import connected
    from gridcentric.hypervisors.ray.tickets import alive

    address, what = sys.argv[1:]
    with connected(address, "SPREAD") as make:
        cpus = CPUS * len(alive())
        measured = _objects() if what == "objects" else _groups(cpus) | asyncio.run(_vms(make, cpus))
    print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
