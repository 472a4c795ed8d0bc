"""The test track in the terminal: a light per machine, the clock and the lap table, with rich. Where the output is not a
terminal, a line per lap. Drives nothing."""

from __future__ import annotations

import time
from typing import Any, Optional

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from track import Lap

PER_ROW = 20
INTERVAL_S = 0.1  # between two drawings: they take time that the lap needs
COLOURS = {"A": "bold yellow", "B": "bold bright_cyan"}


def seconds(ms: float) -> str:
    return f"{ms / 1e3:.3f} s"


def lit(lap: Lap) -> dict[int, str]:
    """Which application each light shows. When A has ended, its lights go off."""
    ended = next((at for mark, at in lap.marks if mark.endswith("have ended")), None)
    return {number: name for name, number, at in lap.lights if ended is None or at > ended}


def lights(lap: Lap) -> Text:
    on, text = lit(lap), Text()
    for number in range(1, lap.machines + 1):
        text.append("● " if number in on else "○ ", COLOURS[on[number]] if number in on else "bright_black")
        if number % PER_ROW == 0:
            text.append("\n")
    return text


def table(rows: list[dict[str, Any]]) -> Table:
    made = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    for name, side in (("lap", "left"), ("", "left"), ("2010", "left"), ("last", "right"), ("best", "right"), ("", "right")):
        made.add_column(name, justify=side)  # type: ignore[arg-type]
    for row in rows:
        times = f"{row['then_ms'] / row['best_ms']:,.0f} times faster"
        made.add_row(row["name"], row["what"], row["then"], seconds(row["last_ms"]), seconds(row["best_ms"]), times)
    return made


class Terminal:
    def __init__(self, hypervisor: str, cores: int) -> None:
        self._console = Console(highlight=False)
        self._live: Optional[Live] = None
        self._next = 0.0
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
        where = "in processes" if hypervisor == "process" else f"in VMs ({hypervisor})"
        self._title = f"test track, {where}, {cores} core{'s' * (cores != 1)}"

    def __enter__(self) -> Terminal:
        self.say(self._title)
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def show(self, lap: Lap, rows: list[dict[str, Any]]) -> None:
        if self._live:
            if lap.ms is None and time.monotonic() < self._next:
                return
            self._next = time.monotonic() + INTERVAL_S
            clock = Text(f"{lap.name}   ", "bold").append(
                seconds(lap.ms or (lap.lights[-1][2] if lap.lights else 0)), "bold green"
            )
            self._live.update(Group(Text(), clock, lights(lap), Text(), table(rows)), refresh=True)
        elif lap.ms is not None:
            row = next(row for row in rows if row["name"] == lap.name)
            self.say(f"{lap.name}: {row['what']}: {seconds(lap.ms)} (2010: {row['then']})")
