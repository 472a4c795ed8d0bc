"""The laps of the test track: which machines there are, what a lap does, how long it took. Knows no page and no terminal.

A machine is a clone of one of the two applications. It counts once it has answered a request on its own address."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from stage.performance import Failed, Refused
from stage.programs import Programs, free_port, required

from gridcentric import _node_package, _paths

HERE = Path(__file__).resolve().parent
# (name, what happens, the figure of 2010 as it was published, in ms)
FIGURES = {
    "acceleration": ("1 → {machines} machines", "just over 9 s", 9000),
    "cornering": ("A on {machines}, all ended, B on {machines}", "below 20 s", 20000),
}


@dataclass
class Lap:
    """A lap under way or done. Times are ms since its start."""

    name: str
    machines: int
    lights: list[tuple[str, int, float]] = field(default_factory=list)  # application, number, when it answered
    marks: list[tuple[str, float]] = field(default_factory=list)  # what was reached, when
    ms: Optional[float] = None


class Application:
    """A program of this folder and the family that it becomes."""

    def __init__(self, name: str, language: str, host: str, port: int) -> None:
        self.name, self.language, self.host, self.port = name, language, host, port

    async def lines(self, path: str) -> Any:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: track\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            async for raw in reader:
                said = json.loads(raw)
                if "error" in said:
                    raise Failed(f"application {self.name}: {said['error']}")
                yield said
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Failed(f"application {self.name} does not answer: {error}") from None
        finally:
            writer.close()

    async def drive(self, lap: Lap, start: float, changed: Callable[[Lap], None]) -> None:
        """Clones until the lap's number of machines have answered."""
        seen = 0
        async for line in self.lines(f"/lap?n={lap.machines}"):
            now = (time.perf_counter() - start) * 1e3
            if "cloned" in line:
                lap.marks.append((f"{self.name}: clone() has returned", now))
            else:
                seen += 1
                lap.lights.append((self.name, seen, now))
            changed(lap)
        if seen != lap.machines:
            raise Failed(f"{lap.machines} clones of application {self.name} were requested, but {seen} answered")
        lap.marks.append((f"{self.name}: all {seen} have answered", lap.lights[-1][2]))

    async def end(self) -> int:
        return sum([line["ended"] async for line in self.lines("/end")])


async def start(programs: Programs, name: str, hypervisor: str) -> Application:
    language, runner, file = {"A": ("Python", sys.executable, "a.py"), "B": ("Node", "node", "b.js")}[name]
    # A computer with one core would offer 64 CPUs.
    env = {"GRIDCENTRIC_CPUS": "256"}
    if hypervisor == "process":
        if name == "B":
            package = _node_package.find()
            if package is None:
                raise Refused(
                    "application B is a Node program, and Node's package is missing: npm install -g PATH/TO/bindings-node, "
                    "or name its folder in GRIDCENTRIC_NODE_MODULE"
                )
            env["GRIDCENTRIC_NODE_MODULE"] = str(package)
            runner = required("node", "nodejs")
        command = [runner, str(HERE / file), "0"]
    else:
        # In a VM; its port is published here.
        port = str(free_port())
        inside = [Path(runner).name if name == "B" else "python3", f"/root/{file}", port]
        copied = ["--copy", f"{HERE / file}:/root/{file}", "--publish", f"{port}:{port}"]
        command = [str(_paths.GC), "run", "--hypervisor", hypervisor, *copied, "--", *inside]
    process = await programs.start(*command, env=env, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    words = (await process.stdout.readline()).split()
    if words[:1] != [b"ready"]:
        raise Refused(f"application {name} did not start: {' '.join(command)}")
    return Application(name, language, "127.0.0.1", int(words[1]))


class Track:
    """Both applications, and one lap at a time."""

    def __init__(self, a: Application, b: Application, changed: Callable[[Lap], None]) -> None:
        self.a, self.b, self._changed = a, b, changed
        self._busy = asyncio.Lock()
        self.done: list[Lap] = []

    @property
    def busy(self) -> bool:
        return self._busy.locked()

    async def lap(self, name: str, machines: int) -> Lap:
        async with self._busy:
            lap, start = Lap(name, machines), time.perf_counter()
            self._changed(lap)
            await self.a.drive(lap, start, self._changed)
            if name == "cornering":
                await self.a.end()
                lap.marks.append(("A: all have ended", (time.perf_counter() - start) * 1e3))
                self._changed(lap)
                await self.b.drive(lap, start, self._changed)
            lap.ms = lap.lights[-1][2]
            self.done.append(lap)
            self._changed(lap)
            await (self.b if name == "cornering" else self.a).end()  # not timed
            return lap

    def table(self) -> list[dict[str, Any]]:
        """A row per kind of lap that has been driven, with the best and the last time."""
        rows = []
        for name, (what, then, then_ms) in FIGURES.items():
            laps = [lap for lap in self.done if lap.name == name]
            if laps:
                times = [lap.ms for lap in laps if lap.ms is not None]
                row = {"name": name, "what": what.format(machines=laps[-1].machines), "then": then, "then_ms": then_ms}
                rows.append({**row, "best_ms": min(times), "last_ms": times[-1], "laps": len(times)})
        return rows


def cores() -> int:
    return len(os.sched_getaffinity(0))
