"""The row of Java. It needs a JDK, and is left out without one."""

from __future__ import annotations

import asyncio
import shutil
import statistics

from .cloning import MODES, sixty_one
from .report import Figure
from .servers import JAR, Server, clone_and_ask, clones_of, pss_mib


def java61() -> list[Figure]:
    """1 -> 61 JVMs with an HTTP server, all answered, beside starting 61; PSS of a clone beside that of a started JVM"""
    if not shutil.which("javac") or not JAR.exists():
        print(f"  left out: there is no JDK, or no {JAR} (run `make build`)")
        return []
    figures = [figure for mode in MODES for figure in sixty_one("Java", "Server.java", 20, mode)[0]]
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
