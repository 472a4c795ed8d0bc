"""The rows of memory: what a clone of a server takes once it has answered, while it is idle, and after requests.

`memory` reports the PSS of a clone (a page that several processes share counts for each with its part): the mean of all clones,
without the master, whose PSS is in the details. Clones and started processes are not there at the same time, so that they don't
share files. `memoryways` compares ways to start a server by what its clones have for themselves alone ("private"), which
doesn't depend on how many there are; so all run side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TypeVar

from . import report
from .report import Figure
from .servers import Server, ask, clone_and_ask, clones_of, has_java, rollup_mib, send

PROGRAMS = {"Node": "server.js", "Python": "server.py", "Java": "Server.java"}
FLAGS = {"Node": ("--expose-gc",)}  # its server needs it to collect when it is told to

AS_IT_IS = "as it is"
SEMI, ONE_THREAD, NO_REDUCER = "--max-semi-space-size=1", "--single-threaded-gc", "--no-memory-reducer"
SERIAL, YOUNG, C1 = "-XX:+UseSerialGC", "-Xmn4m", "-XX:TieredStopAtLevel=1"


@dataclass
class Load:
    """What a server does while it is measured."""

    idle_s: tuple[int, ...] = (0, 2, 5, 10, 20, 30, 60)
    requests: int = 1000

    @property
    def after_requests(self) -> str:
        return f"after {self.requests:,} requests"


AFTER_COLLECTION = "after a full collection"


@dataclass
class Way:
    """How a server is started and made ready to be cloned."""

    language: str
    name: str = AS_IT_IS
    flags: tuple[str, ...] = ()
    tidy: str = ""  # a request before the clone
    warm: int = 1000  # requests before that
    objects: int = 200_000

    def server(self) -> Server:
        return Server(PROGRAMS[self.language], "0", str(self.objects), flags=(*FLAGS.get(self.language, ()), *self.flags))

    def warm_up(self, server: Server) -> None:
        asyncio.run(send("127.0.0.1", server.port, self.warm))


def flagged(language: str, *flags: str) -> Way:
    return Way(language, " ".join(flags), flags)


def small(*flags: str) -> Way:
    """A Node server without data that is cloned soon after its start."""
    return Way("Node", " ".join(("no objects, cloned after 20 requests", *flags)), flags, warm=20, objects=0)


WAYS = [
    Way("Node"),
    Way("Node", "cloned after 20 requests", warm=20),
    Way("Node", "gc() before the clone", tidy="/tidy"),
    flagged("Node", NO_REDUCER),
    flagged("Node", SEMI),
    flagged("Node", ONE_THREAD),
    flagged("Node", ONE_THREAD, SEMI),
    flagged("Node", ONE_THREAD, SEMI, NO_REDUCER),
    flagged("Node", "--optimize-for-size"),
    flagged("Node", "--no-flush-bytecode"),
    small(),
    small(NO_REDUCER),
    Way("Python"),
    Way("Python", "cloned after 20 requests", warm=20),
    Way("Python", "gc.freeze() before the clone", tidy="/tidy?how=freeze"),
    Way("Python", "gc.collect(), gc.freeze() before the clone", tidy="/tidy?how=collect,freeze"),
    Way("Java"),
    Way("Java", "cloned after 20 requests", warm=20),
    Way("Java", "System.gc() before the clone", tidy="/tidy"),
    flagged("Java", SERIAL),
    flagged("Java", C1),
    flagged("Java", YOUNG),
    flagged("Java", SERIAL, YOUNG),
    flagged("Java", SERIAL, YOUNG, C1),
    flagged("Java", "-Xms256m", "-XX:+AlwaysPreTouch"),
    flagged("Java", "-XX:G1PeriodicGCInterval=5000"),
    flagged("Java", "-Xshare:off"),
]


@dataclass
class Memory:
    """MiB at each moment: the mean PSS of the copies, what is theirs alone, and the master's PSS."""

    pss: dict[str, float] = field(default_factory=dict)
    private: dict[str, float] = field(default_factory=dict)
    master: dict[str, float] = field(default_factory=dict)

    def read(self, moment: str, copies: list[int], master: int | None = None) -> None:
        values = [rollup_mib(pid) for pid in copies]
        self.pss[moment] = statistics.mean(v["Pss"] for v in values)
        self.private[moment] = statistics.mean(v["Private_Clean"] + v["Private_Dirty"] for v in values)
        if master is not None:
            self.master[moment] = rollup_mib(master)["Pss"]


def moments(addresses: list[tuple[str, int]], load: Load) -> Iterator[str]:
    """Waits for each moment of idleness; then sends each server its requests; then has each collect its garbage."""

    async def all_of(calls: list[Coroutine[object, object, object]]) -> None:
        await asyncio.gather(*calls)

    start = time.perf_counter()
    for at in load.idle_s:
        time.sleep(max(0.0, start + at - time.perf_counter()))
        yield f"after {at} s"
    asyncio.run(all_of([send(host, port, load.requests) for host, port in addresses]))
    yield load.after_requests
    asyncio.run(all_of([ask(host, port, "/tidy") for host, port in addresses]))
    yield AFTER_COLLECTION


def of_clones(way: Way, copies: int, load: Load) -> Memory:
    memory = Memory()
    with way.server() as server:
        way.warm_up(server)
        if way.tidy:
            server.ask(way.tidy)
        call = asyncio.run(clone_and_ask(server, copies))
        clones = clones_of(server.process.pid)
        for moment in moments([(clone["ip"], server.port) for clone in call["clones"]], load):
            memory.read(moment, clones, server.process.pid)
        server.ask("/end")
    return memory


def of_started(way: Way, copies: int, load: Load) -> Memory:
    memory = Memory()
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(way.server()) for _ in range(copies)]
        for server in servers:
            way.warm_up(server)
        for moment in moments([("127.0.0.1", server.port) for server in servers], load):
            memory.read(moment, [server.process.pid for server in servers])
    return memory


T = TypeVar("T")


def side_by_side(ways: list[Way], measure: Callable[[Way], T]) -> list[tuple[Way, T]]:
    if not has_java():
        ways = [way for way in ways if way.language != "Java"]
    with ThreadPoolExecutor(len(ways)) as pool:
        return list(zip(ways, pool.map(measure, ways)))


def memory() -> list[Figure]:
    """PSS of 61 clones of a Node, a Python and a Java server: 0 to 60 s idle, after 1,000 requests; beside started ones"""
    load = Load()
    ways = [Way(language) for language in PROGRAMS]
    clones = side_by_side(ways, lambda way: of_clones(way, 61, load))
    started = side_by_side(ways, lambda way: of_started(way, 5, load))  # all but a few MiB of each is private
    figures: list[Figure] = []
    idle: dict[str, list[tuple[float, float]]] = {}
    for (way, cloned), (_, fresh) in zip(clones, started):
        details: dict[str, object] = {"clones": asdict(cloned), "started": asdict(fresh)}
        idle[way.language] = [(float(at), cloned.pss[f"after {at} s"]) for at in load.idle_s]
        for moment in ("after 0 s", "after 10 s", "after 60 s", load.after_requests, AFTER_COLLECTION):
            pss = cloned.pss[moment]
            bar, met = ("below 5 MiB", pss < 5) if moment == "after 0 s" else ("", None)
            figures.append(Figure("memory", f"PSS of a {way.language} clone that has answered, {moment}", pss, "MiB",
                                  "a started process", fresh.pss[moment], bar, met, details))  # fmt: skip
    report.plot("memory", "PSS of an answered, idle clone (mean of 61)", "s after its answer", "MiB", idle)
    return figures


def memory_ways() -> list[Figure]:
    """what flags of Node and the JVM, and calls before the clone, save of the memory that a clone has for itself"""
    load = Load(idle_s=(0, 10, 60))
    measured = side_by_side(WAYS, lambda way: of_clones(way, 4, load))
    usual = {way.language: memory.private for way, memory in measured if way.name == AS_IT_IS}
    return [
        Figure("memoryways", f"{way.language}, {way.name}: {moment}", memory.private[moment], "MiB", AS_IT_IS,
               usual[way.language][moment], details=asdict(memory))
        for way, memory in measured for moment in ("after 0 s", "after 60 s", load.after_requests, AFTER_COLLECTION)
    ]  # fmt: skip
