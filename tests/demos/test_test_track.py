"""The test track, small: both laps in the terminal, then again on the page."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from demo_harness import demo
from playing import START, look, playing


def test_both_laps_in_the_terminal(tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            options = ["--port", str(played.port), "--accelerate", "7", "--corner", "9", "--once"]
            await played.start([*START, "test-track", *options])
            assert await played.process.wait() == 0
            laps = re.findall(r"^(\w+): (.*): \d\.\d{3} s \(2010: (.*)\)$", played.log.read_text(), re.M)
            assert laps == [
                ("acceleration", "1 → 7 machines", "just over 9 s"),
                ("cornering", "A on 9, all ended, B on 9", "below 20 s"),
            ]
            await played.nothing_left()

    asyncio.run(main())


def test_the_page(tmp_path: Path) -> None:
    async def main() -> None:
        small = () if os.environ.get("GC_SCREENSHOTS") else ("--accelerate", "7", "--corner", "9")
        machines = [str(n) for n in range(1, 10 if small else 101)]
        async with playing("test-track", tmp_path, *small) as played:
            steps = [
                ["wait", '[data-replay="done cornering"]'],
                ["click", "[data-lap=acceleration]"],
                ["wait", '[data-replay="done acceleration"]'],
                ["click", "[data-lap=cornering]"],
                ["wait", '[data-replay="done cornering"]'],
            ]
            read = {"B": ".light.B", "off": ".light:not(.B)", "laps": "#table b", "time": "#time", "marks": "#marks span"}
            seen = await look(played, steps, {**read, "best": "#table .best", "failed": "#failed:not([hidden])"}, "test-track")
            assert (seen["B"], seen["off"], seen["failed"]) == (machines, [], [])
            assert seen["laps"] == ["acceleration", "cornering"]
            assert re.fullmatch(r"\d+\.\d{3}s", seen["time"][0])
            assert all(re.fullmatch(r"[\d.]+ m?s", best) for best in seen["best"])
            last = len(machines)
            expected = ["A: clone() has returned", f"A: all {last} have answered", "A: all have ended"]
            assert seen["marks"] == [*expected, "B: clone() has returned", f"B: all {last} have answered"]

    asyncio.run(main())
