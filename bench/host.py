"""Rows of the host and its rules: tickets, vmid, barrier, and 100,000 clones of the fake hypervisor."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import report
from .report import Figure
from .servers import PROGRAMS, ROOT

GC = str(ROOT / ".venv" / "bin" / "gc")
PYTHON = str(ROOT / ".venv" / "bin" / "python")


@contextmanager
def compiled(name: str) -> Iterator[str]:
    """A program of bench/programs against the installed header and library."""
    asked = subprocess.run([PYTHON, "-m", "gridcentric", "--cflags", "--libs"], check=True, capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/{name}"
        source = str(PROGRAMS / f"{name}.c")
        subprocess.run(["gcc", "-O2", source, "-o", program, *asked.stdout.split(), "-pthread"], check=True)
        yield program


@contextmanager
def host(*options: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/host.sock"
        process = subprocess.Popen([GC, "host", "--socket", address, *options], stdout=subprocess.PIPE)
        assert process.stdout is not None
        if not process.stdout.readline().startswith(b"listening"):
            raise RuntimeError(f"gc host did not start: exit code {process.wait()}")
        try:
            yield f"unix:{address}"
        finally:
            process.terminate()
            process.wait()


def guest_calls() -> dict[str, float]:
    with host("--hypervisor", "fake") as address, compiled("guest_calls") as program:
        out = subprocess.run([program], env=os.environ | {"GRIDCENTRIC_HOST": address}, check=True, capture_output=True)
        result: dict[str, float] = json.loads(out.stdout)
        return result


def ticket() -> list[Figure]:
    """a ticket's round trip beside a bare echo over a Unix socket"""
    r = guest_calls()
    us, echo = r["round_trip_us"], r["echo_us"]
    return [Figure("ticket", "ticket round trip, median", us, "µs", "a bare echo", echo, "within 1.3x", us <= 1.3 * echo)]


def vmid() -> list[Figure]:
    """vmid() beside the cheapest system call"""
    r = guest_calls()
    us = r["vmid_us"]
    return [Figure("vmid", "vmid()", us, "µs", "getppid()", r["syscall_us"], "below 0.1x", us < 0.1 * r["syscall_us"])]


def barrier() -> list[Figure]:
    """a barrier of 61 real clones, from the last arrival to the last departure"""
    env = {k: v for k, v in os.environ.items() if k != "GRIDCENTRIC_HOST"} | {"GRIDCENTRIC_GC": GC}

    def measure(program: str, domains: int) -> float:
        out = subprocess.run([program, str(domains)], env=env, check=True, capture_output=True)
        return statistics.median(float(line) for line in out.stdout.split()) / 1e3

    with compiled("barrier") as program:
        two, all_ = measure(program, 2), measure(program, 61)
    return [
        Figure("barrier", "barrier of 61, after the last arrival", all_, "ms", "a barrier of 2", two, "below 5 ms", all_ < 5)
    ]


def fake() -> list[Figure]:
    """100,000 clones of 1,000 families through ticket, clone, sync, join; by number, and the host's memory"""
    program = next(Path(ROOT / "build" / "bench").rglob("bench_host"), None)
    if program is None:
        folder = str(ROOT / "build" / "bench")
        subprocess.run(
            ["cmake", "-G", "Ninja", "-S", str(ROOT), "-B", folder, "-DGC_TESTS=ON"], check=True, stdout=subprocess.DEVNULL
        )
        subprocess.run(["cmake", "--build", folder, "--target", "bench_host"], check=True, stdout=subprocess.DEVNULL)
        program = next(Path(folder).rglob("bench_host"))
    rows: list[dict[str, Any]] = []
    for clones in (25_000, 50_000, 100_000):
        out = subprocess.run([str(program), str(clones // 100), "100"], check=True, capture_output=True, text=True)
        rows.append(json.loads(out.stdout.splitlines()[-1]))
    report.plot("fake", "Clones of the fake hypervisor through ticket, clone, sync, join", "clones", "s",
                {"100 per family": [(r["clones"], r["seconds"]) for r in rows]})  # fmt: skip
    full, half = rows[2]["seconds"], rows[1]["seconds"]
    memory = rows[2]["bytes_per_domain"]
    return [
        Figure("fake", "100,000 clones of 1,000 families", full, "s", "50,000 clones of 500", half,
               "below 5 s; linear: below 2.2x", full < 5 and full < 2.2 * half),
        Figure("fake", "memory of a domain in the host", memory, "bytes", bar="below 1,024", met=memory < 1024),
    ]  # fmt: skip
