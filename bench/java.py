"""The row of Java. It needs a JDK, and is left out without one."""

from __future__ import annotations

import asyncio
import statistics

from .cloning import MODES, Many
from .report import Figure
from .servers import Server, clone_and_ask, clones_of, has_java, pss_mib


def java61() -> list[Figure]:
    """1 -> 61 JVMs with an HTTP server, all answered, beside starting 61; PSS of a clone beside that of a started JVM"""
    if not has_java():
        return []
    figures = []
    for mode in MODES:
        # What a JVM has not run before its clones load and compile, each for itself: so a server at work is measured, and below
        # it one that has just started.
        at_work = Many("Java", "Server.java", faster=20, answered=20).beside_starting(mode)
        just_started = float(Many("Java", "Server.java").clone(mode)["all_answered_ms"])
        what = f"1 -> 61 Java servers, all answered, {mode}; one request before"
        figures += [at_work, Figure("java61", what, just_started, "ms", at_work.beside, at_work.beside_value)]
    with Server("Server.java") as server:
        server.ask("/")
        asyncio.run(clone_and_ask(server, 20))
        clone = statistics.mean(pss_mib(clones_of(server.process.pid)).values())
        server.ask("/end")
    with Server("Server.java") as first, Server("Server.java") as second:
        for started in (first, second):
            started.ask("/")
        fresh = statistics.mean(pss_mib([first.process.pid, second.process.pid]).values())
    return [*figures, Figure("java61", "PSS of a JVM's clone that has answered", clone, "MiB", "a started JVM", fresh)]
