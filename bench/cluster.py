"""The row of the ray hypervisor: three computers, which are network namespaces of this one with a Ray node each (as root).
They share its cores, so that another computer adds work and no speed. What is measured is in a process on the first: this
file as a program.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

from .report import Figure
from .servers import ROOT

OBJECT_MIB = 100  # about what the clones of a VM with Node start from
MIB = 1 << 20


def cluster() -> list[Figure]:
    """an object of Ray's store on two other computers beside one: the way of what clones start from"""
    sys.path.insert(0, str(ROOT / "tests" / "cluster"))
    from computers import PORT, Cluster, what_is_missing

    if reason := what_is_missing():
        print(f"  skipped: {reason}", file=sys.stderr)
        return []
    with contextlib.closing(Cluster(3)) as three:
        one = three.computers[0]
        inside = one.inside("env", f"RAY_TMPDIR={one.folder}", sys.executable, "-m", "bench.cluster", f"{one.ip}:{PORT}")
        said = subprocess.run(inside, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    # Ray writes its warnings there too.
    return [Figure(**json.loads(line)) for line in said.splitlines() if line.startswith('{"row"')]


def _broadcast() -> list[Figure]:
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
    for many in (1, 2):
        times = []
        for _ in range(5):
            data = numpy.frombuffer(os.urandom(OBJECT_MIB * MIB), dtype=numpy.uint8)
            start = time.perf_counter()
            stored = ray.put(data)
            ray.get([other.remote(stored) for other in others[:many]])
            times.append((time.perf_counter() - start) * 1e3)
        medians[many] = statistics.median(times)
    what = f"an object of {OBJECT_MIB} MiB stored and on two other computers, median of 5"
    return [Figure("cluster", what, medians[2], "ms", "on one other", medians[1])]


def main() -> None:
    from gridcentric.hypervisors.ray.host import connected

    with connected(sys.argv[1], "PACK"):
        figures = _broadcast()
    for figure in figures:
        print(json.dumps(asdict(figure)), flush=True)


if __name__ == "__main__":
    main()
