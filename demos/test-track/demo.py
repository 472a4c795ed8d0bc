"""The test track: drives both laps once, then again whenever a button of the page is pressed. Start reading here."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from stage.page import Page
from stage.performance import Failed, Options, perform
from stage.programs import programs
from terminal import Terminal
from track import Lap, Track, cores, start

DESCRIPTION = """acceleration: one running machine becomes 61, all answering. Cornering: 100 machines of application A (Python)
are made and ended, then 100 of application B (Node)."""


def main(arguments: list[str]) -> int:
    options = Options(DESCRIPTION)
    options.number("accelerate", 61, "machines of the lap acceleration", high=120)
    options.number("corner", 100, "machines of each application in the lap cornering", high=120)
    options.choice("hypervisor", ("process", "qemu"), "what makes the clones")
    options.flag("once", "end after both laps, with exit code 1 if one failed")
    given = options.parse(arguments)
    return perform(lambda: drive(given))


async def drive(given: argparse.Namespace) -> int:
    machines = {"acceleration": given.accelerate, "cornering": given.corner}
    laps: set[asyncio.Task[None]] = set()

    async def lap(name: str) -> None:
        try:
            await track.lap(name, machines[name])
            page.show(table=track.table(), running=None, failed=None)
        except Failed as failed:
            page.show(running=None, failed=str(failed))
            terminal.say(str(failed))

    async def go(name: str) -> dict[str, bool]:
        if name not in machines:
            raise ValueError(f"there is no lap '{name}', expected {' or '.join(machines)}")
        if not track.busy:
            task = asyncio.create_task(lap(name))
            laps.add(task)
            task.add_done_callback(laps.discard)
        return {"started": True}

    def changed(lap: Lap) -> None:
        number = len(track.done) + (lap.ms is None)
        news = {
            "lap": number,
            "name": lap.name,
            "machines": lap.machines,
            "lights": lap.lights,
            "marks": lap.marks,
            "ms": lap.ms,
        }
        page.show(now=news, running=lap.name if lap.ms is None else None)
        terminal.show(lap, track.table())

    async with programs() as started, Page(Path(__file__).with_name("page.html"), given.port, {"go": go}) as page:
        with Terminal(given.hypervisor, cores()) as terminal:
            terminal.say(f"the page: {page.url}")
            a, b = await asyncio.gather(*(start(started, name, given.hypervisor) for name in "AB"))
            track = Track(a, b, changed)
            page.show(
                cores=cores(), hypervisor=given.hypervisor, machines=machines, languages={"A": a.language, "B": b.language}
            )
            for name in machines:
                await lap(name)
            if given.once:
                return 0 if len(track.done) == len(machines) else 1
            terminal.say("Ctrl-C ends the demo; the page's buttons start another lap")
            await asyncio.get_running_loop().create_future()
    return 0
