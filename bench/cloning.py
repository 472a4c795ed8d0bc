"""Rows of the process hypervisor: real servers, really cloned. "Answered" means that a clone has answered a request
on its own address with state that it inherited."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import report
from .report import Figure
from .servers import PROGRAMS, Server, ask, clone_and_ask, length_of, start_many

MODES = ("pidns", "plain")


def plain_fork_addon(folder: str) -> str:
    path = f"{folder}/plain_fork.node"
    include = os.environ.get("NODE_INCLUDE", "/usr/include/node")
    source = str(PROGRAMS / "plain_fork.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", f"-I{include}", source, "-o", path], check=True)
    return path


def stages(trace: Path) -> list[dict[str, Any]]:
    """The lines of GRIDCENTRIC_TRACE: a JSON object for each clone operation, times in ms."""
    return [json.loads(line) for line in trace.read_text().splitlines()]


def one() -> list[Figure]:
    """one clone of a 60 MB Node server beside a plain fork() of the same process"""
    figures = []
    for mode, bar in zip(MODES, (2, 5)):
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace"
            env = {"PLAIN_FORK": plain_fork_addon(folder), "GRIDCENTRIC_CLONE_MODE": mode, "GRIDCENTRIC_TRACE": str(trace)}
            with Server("server.js", "10", env=env) as server:
                forks, clones = [], []
                for _ in range(10):
                    forks.append(server.ask("/fork")["ms"])
                    clones.append(server.ask("/clone?n=1")["clone_ms"])
                    server.ask("/end")
            traced = stages(trace)
            fork, clone = statistics.median(forks), statistics.median(clones)
            keys = sorted({k for t in traced for k in t if k.endswith("_ms")})
            medians = {k: round(statistics.median(t.get(k, 0) for t in traced), 3) for k in keys}
            print(f"  stages, {mode}: {medians}")
            figures.append(
                Figure("one", f"clone() of a Node server, {mode}", clone, "ms", "a plain fork() of it", fork,
                       f"within {bar}x", clone <= bar * fork, {"stages": medians})
            )  # fmt: skip
            if "pause_ms" in medians:
                pause = medians["pause_ms"]
                figures.append(Figure("one", f"pause of the master, {mode}", pause, "ms", bar="below 6 ms", met=pause < 6))
    return figures


def pause() -> list[Figure]:
    """pause of a Node server that makes 61 clones, beside the one that makes 1"""
    figures = []
    for mode in MODES:
        medians = []
        for clones in (1, 61):
            with tempfile.TemporaryDirectory() as folder:
                trace = Path(folder) / "trace"
                with Server("server.js", "10", env={"GRIDCENTRIC_CLONE_MODE": mode, "GRIDCENTRIC_TRACE": str(trace)}) as server:
                    for _ in range(7):
                        server.ask(f"/clone?n={clones}")
                        server.ask("/end")
                medians.append(statistics.median(one["pause_ms"] for one in stages(trace)))
        one, many = medians
        figures.append(
            Figure(
                "pause",
                f"pause of the master for 61 clones, {mode}",
                many,
                "ms",
                "for 1 clone",
                one,
                "within 1.5x",
                many <= 1.5 * one,
            )
        )
    return figures


def prepared() -> list[Figure]:
    """pause of a Python server of 60, 500 and 2000 MB that has called prepare(), beside the same before it"""
    figures = []
    for mode in MODES:
        smallest = 0.0
        for mb in (60, 500, 2000):
            with tempfile.TemporaryDirectory() as folder:
                trace = Path(folder) / "trace"
                env = {"GRIDCENTRIC_CLONE_MODE": mode, "GRIDCENTRIC_TRACE": str(trace)}
                with Server("server.py", str(mb), env=env) as server:

                    def clone_some() -> None:
                        for _ in range(5):
                            server.ask("/clone?n=1")
                            server.ask("/end")

                    clone_some()
                    made = server.ask("/prepare")
                    clone_some()
                pauses = [one["pause_ms"] for one in stages(trace)]
            before, after = statistics.median(pauses[:5]), statistics.median(pauses[5:])
            smallest = smallest or after
            bar, met = ("below 8 ms, within 2x of 60 MB", after < 8 and after <= 2 * smallest) if mb == 2000 else ("", None)
            figures.append(Figure("prepared", f"pause of a Python server of {mb} MB after prepare(), {mode}", after, "ms",
                                  "before it", before, bar, met, details=made))  # fmt: skip
    return figures


@dataclass
class Many:
    """A program that becomes 61, and the bar."""

    name: str
    program: str
    arguments: tuple[str, ...] = ()
    below_ms: float = 1000
    faster: float = 10  # than starting 61
    answered: int = 1  # requests, before it is cloned, like one at work

    def clone(self, mode: str) -> dict[str, Any]:
        with Server(self.program, *self.arguments, env={"GRIDCENTRIC_CLONE_MODE": mode}) as server:
            for _ in range(self.answered):
                server.ask("/")
            return asyncio.run(clone_and_ask(server, 61))

    def beside_starting(self, mode: str) -> Figure:
        clone = self.clone(mode)
        ms, start = float(clone["all_answered_ms"]), start_many(61, self.program, *self.arguments)
        met = ms < self.below_ms and ms * self.faster <= start
        requests = f"; {self.answered} requests before" if self.answered > 1 else ""
        return Figure(f"{self.name.lower()}61", f"1 -> 61 {self.name} servers, all answered, {mode}{requests}", ms, "ms",
                      "starting 61", start, f"below {self.below_ms:,g} ms, {self.faster:g}x faster", met,
                      {"call_ms": clone["clone_ms"]})  # fmt: skip


def node61() -> list[Figure]:
    """1 -> 61 Node servers with 200,000 objects, all answered, beside starting 61"""
    return [Many("Node", "server.js", ("0", "200000"), below_ms=250).beside_starting(mode) for mode in MODES]


def python61() -> list[Figure]:
    """1 -> 61 Python servers, all answered, beside starting 61 and beside os.fork()"""
    figures = [Many("Python", "server.py").beside_starting(mode) for mode in MODES]
    with Server("server.py") as server:
        forks = [server.ask("/fork")["ms"] for _ in range(10)]
        clones = []
        for _ in range(10):
            clones.append(server.ask("/clone?n=1")["clone_ms"])
            server.ask("/end")
    clone, fork = statistics.median(clones), statistics.median(forks)
    figures.append(
        Figure("python61", "clone() of a Python server", clone, "ms", "os.fork() of it", fork, "within 5x", clone <= 5 * fork)
    )
    return figures


def cornering() -> list[Figure]:
    """application A to 100 clones, end all, application B to 100 clones, all answered"""
    with Server("server.js") as a, Server("server.py") as b:
        start = time.perf_counter()
        asyncio.run(clone_and_ask(a, 100))
        a.ask("/end")
        asyncio.run(clone_and_ask(b, 100))
        ms = (time.perf_counter() - start) * 1e3
    return [Figure("cornering", "A to 100, end, B to 100, all answered", ms, "ms", bar="below 800 ms", met=ms < 800)]


def heap() -> list[Figure]:
    """the cost of one clone by heap size: 0, 125, 250, 500 and 2000 MB of Python objects"""
    series: dict[str, list[tuple[float, float]]] = {"plain fork()": []}
    figures = []
    for mode in MODES:
        series[mode] = []
        for mb in (0, 125, 250, 500, 2000):
            with Server("server.py", str(mb), env={"GRIDCENTRIC_CLONE_MODE": mode}) as server:
                clones, forks = [], []
                for _ in range(3):
                    forks.append(server.ask("/fork")["ms"])
                    clones.append(server.ask("/clone?n=1")["clone_ms"])
                    server.ask("/end")
            series[mode].append((mb, statistics.median(clones)))
            if mode == "pidns":
                series["plain fork()"].append((mb, statistics.median(forks)))
            if mb in (500, 2000):
                figures.append(Figure("heap", f"clone() of a Python server, {mb} MB, {mode}", statistics.median(clones), "ms",
                                      "a plain fork() of it", statistics.median(forks)))  # fmt: skip
    report.plot("heap", "One clone by size of the heap", "MB", "ms", series)
    for mode in MODES:
        points = dict(series[mode])
        # Four times the memory may cost at most about four times the time: 6x leaves room for noise, a square would be 16x.
        growth = points[2000] / points[500]
        figures.append(
            Figure("heap", f"growth from 500 MB to 2 GB, {mode}", growth, "x", bar="linear: below 6x", met=growth < 6)
        )
    return figures


async def _clients(server: Server, n: int, stop: asyncio.Event) -> list[float]:
    times: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while not stop.is_set():
            t0 = time.perf_counter()
            writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
            body = await reader.readexactly(length_of(await reader.readuntil(b"\r\n\r\n")) or 0)
            if b'"vmid":0,' not in body.replace(b" ", b""):
                raise RuntimeError(f"a client of the master was answered by {body!r}")
            times.append((time.perf_counter() - t0) * 1e3)
        writer.close()

    await asyncio.gather(*(client() for _ in range(n)))
    return times


def keepalive() -> list[Figure]:
    """20 keep-alive clients on the master during 50 calls of clone(): no failed request, p99"""

    async def measure(server: Server, clonings: int) -> list[float]:
        stop = asyncio.Event()
        clients = asyncio.create_task(_clients(server, 20, stop))
        if clonings == 0:
            await asyncio.sleep(3)
        for _ in range(clonings):
            await ask("127.0.0.1", server.port, "/clone?n=1")
            await ask("127.0.0.1", server.port, "/end")
        stop.set()
        return await clients

    with Server("server.js") as server:
        quiet = asyncio.run(measure(server, 0))
        busy = asyncio.run(measure(server, 50))

    def p99(times: list[float]) -> float:
        return statistics.quantiles(times, n=100)[98]

    details: dict[str, Any] = {"requests": len(busy), "longest_ms": max(busy)}
    return [Figure("keepalive", f"p99 of {len(busy):,} requests during 50 calls of clone(), none failed", p99(busy), "ms",
                   "without cloning", p99(quiet), "no failed request", True, details)]  # fmt: skip
