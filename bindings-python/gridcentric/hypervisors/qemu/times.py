"""Where the time of a cloning goes. Knows its stages by name only."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from gridcentric.hypervisors.qemu.machine import accelerator


@dataclass
class Times:
    """Where the time of one cloning went, ms. GRIDCENTRIC_TRACE names a file that gets a line of JSON of each."""

    quiesce: float = 0  # the programs of the master come to a stop
    save: float = 0
    copy: float = 0
    pause: float = 0  # the master's machine stood still
    frozen: float = 0  # its programs did
    convert: float = 0  # of a clone's RAM into a template
    load: float = 0
    release: float = 0
    total: float = 0
    waited: int = 0  # no time: how many of the clones were machines that waited for this (pool.py)

    def trace(self, vmid: int, clones: int) -> None:
        times = asdict(self)
        line = {"vmid": vmid, "mode": accelerator().name, "clones": clones, "waited": times.pop("waited")}
        trace(line | {f"{name}_ms": round(value, 3) for name, value in times.items()})


def trace(line: dict[str, object]) -> None:
    """A line for the file that GRIDCENTRIC_TRACE names."""
    path = os.environ.get("GRIDCENTRIC_TRACE")
    if not path:
        return
    with Path(path).open("a") as lines:
        lines.write(json.dumps(line) + "\n")


@contextlib.contextmanager
def timed(times: Times, stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        setattr(times, stage, (time.perf_counter() - begin) * 1e3)
