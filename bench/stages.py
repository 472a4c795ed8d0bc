"""The row of stages: where the time of one clone goes, each stage beside what the kernel alone takes for it."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cloning import plain_fork_addon, stages
from .report import Figure
from .servers import PROGRAMS, ROOT, Server

ROUNDS = 25


@dataclass
class Stage:
    name: str
    measured: tuple[str, ...]  # times of the trace that it is the sum of
    floor: tuple[str, ...]  # times of programs/floors.c, or "fork": a plain fork() of the server
    beside: str


STAGES = (
    Stage("preflight", ("preflight_ms",), ("facts",), "reading what /proc says"),
    Stage("park", ("park_ms",), ("park",), "a signal to each thread"),
    Stage("plan", ("plan_ms", "dofork_ms"), ("facts",), "reading what /proc says"),
    Stage("fork", ("fork_ms",), ("fork", "helper", "namespaces", "exec", "exec"),
          "a plain fork() of it, one helper, new namespaces, two exec"),
    Stage("threads in the clone", ("clone_threads_ms",), ("threads",), "making as many"),
)  # fmt: skip


def gc_reaper() -> str:
    (path,) = (ROOT / ".venv").glob("lib/python*/site-packages/gridcentric/bin/gc-reaper")
    return str(path)


def floors(folder: str, threads: int, descriptors: int) -> dict[str, float]:
    program = f"{folder}/floors"
    subprocess.run(["gcc", "-O2", "-pthread", str(PROGRAMS / "floors.c"), "-o", program], check=True)
    said = subprocess.run([program, str(threads), str(descriptors), gc_reaper()], stdout=subprocess.PIPE, check=True)
    result: dict[str, float] = json.loads(said.stdout)
    return result


def measured(program: str, folder: str) -> tuple[dict[str, float], float, float]:
    """Medians of the trace, of clone() as the program sees it, and of a plain fork()."""
    trace = Path(folder) / "trace"
    env = {"PLAIN_FORK": plain_fork_addon(folder), "GRIDCENTRIC_TRACE": str(trace)}
    calls, forks = [], []
    with Server(program, *(["10"] if program.endswith(".js") else []), env=env) as server:
        for _ in range(ROUNDS):
            forks.append(server.ask("/fork")["ms"])
            calls.append(server.ask("/clone?n=1")["clone_ms"])
            server.ask("/end")
    lines: list[dict[str, Any]] = stages(trace)
    times = {key: statistics.median(line[key] for line in lines) for key in lines[0] if key not in ("pid", "mode")}
    return times, statistics.median(calls), statistics.median(forks)


def of(language: str, program: str) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        times, call, fork = measured(program, folder)
        least = floors(folder, int(times["threads"]), int(times["descriptors"])) | {"fork": fork}
    figures = []
    for stage in STAGES:
        value, floor = sum(times[key] for key in stage.measured), sum(least[key] for key in stage.floor)
        figures.append(Figure("stages", f"{language}: {stage.name}", value, "ms", stage.beside, floor))
    inside = times["preflight_ms"] + times["pause_ms"]
    after = Figure(
        "stages", f"{language}: from the end of the pause until the clone is ready", times["ready_ms"] - inside, "ms"
    )
    rest = Figure("stages", f"{language}: around the engine (the host, the language)", call - times["ready_ms"], "ms")
    total = Figure("stages", f"{language}: clone(), {times['threads']:g} threads, {times['descriptors']:g} descriptors", call,
                   "ms", "a plain fork() of it", fork, details={"trace": times, "floors": least})  # fmt: skip
    return [*figures, after, rest, total]


def stages_of_one() -> list[Figure]:
    """one clone of a Node and of a Python server, stage by stage, each beside what the kernel alone takes"""
    return [*of("Node", "server.js"), *of("Python", "server.py")]
