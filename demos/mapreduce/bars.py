"""The times that harness.sh printed: medians by the number of workers, drawn as stacked bars with the speed-up (SVG).

bars.py MEASURED >BARS.svg"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

STAGES = {"ticket": "#8b93a7", "clone": "#e08600", "sync": "#138a4e", "mapreduce": "#5b4be0"}
NAMES = {"ticket": "ticket", "clone": "clone", "sync": "sync", "mapreduce": "MapReduce"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 400, 56, 20, 56, 62


def medians(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per number of workers: the median of each stage, in ms, how often it was played, the speed-up of the MapReduce."""
    by_workers: dict[int, list[dict[str, Any]]] = {}
    for run in runs:
        by_workers.setdefault(run["workers"], []).append(run)
    rows = []
    for workers, some in sorted(by_workers.items()):
        row = {stage: statistics.median(run[stage] for run in some) for stage in STAGES}
        rows.append({"workers": workers, "runs": len(some), **row})
    one = next((row["mapreduce"] for row in rows if row["workers"] == 1), None)
    return [{**row, "speedup": one / row["mapreduce"] if one else None} for row in rows]


def step(top: float) -> float:
    """A round distance of grid lines, of which there are at most five."""
    return next(s for power in range(-3, 5) for s in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if top / s <= 5)


def svg(rows: list[dict[str, Any]], cores: int) -> str:
    """In a page its colours follow the page's variables."""
    totals = [sum(row[stage] for stage in STAGES) / 1e3 for row in rows]
    top = max([*totals, 0.001]) * 1.12
    inner, across = HEIGHT - TOP - BOTTOM, (WIDTH - LEFT - RIGHT) / max(len(rows), 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" '
        'font-size="13" fill="var(--text, #17171f)">',
        f"<title>Seconds by workers, on {cores} core{'s' * (cores != 1)}</title>",
    ]
    line = step(top)
    for number in range(int(top / line) + 1):
        y = TOP + inner * (1 - number * line / top)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="var(--line, #e2e2ea)"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="var(--soft, #69697a)">{number * line:g}</text>'
        )
    for place, (row, total) in enumerate(zip(rows, totals)):
        x, y, wide = LEFT + across * (place + 0.5), TOP + inner, min(46.0, across * 0.6)
        for stage, colour in STAGES.items():
            tall = inner * row[stage] / 1e3 / top
            y -= tall
            parts.append(f'<rect x="{x - wide / 2:.1f}" y="{y:.2f}" width="{wide:.1f}" height="{tall:.2f}" fill="{colour}"/>')
        speedup = f"{row['speedup']:.2f}\u00d7" if row["speedup"] else f"{total:.2f} s"
        parts.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle" font-weight="600">{speedup}</text>')
        parts.append(f'<text x="{x:.1f}" y="{TOP + inner + 20}" text-anchor="middle">{row["workers"]}</text>')
    soft = 'fill="var(--soft, #69697a)"'
    foot = f"workers, on {cores} core{'s' * (cores != 1)}; above each bar the speed-up of the MapReduce over one worker"
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle" {soft}>{foot}</text>')
    parts.append(f'<text x="{LEFT - 8}" y="{TOP - 14}" text-anchor="end" {soft}>s</text>')
    x = LEFT
    for stage, colour in STAGES.items():
        parts.append(f'<rect x="{x}" y="14" width="12" height="12" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="25">{NAMES[stage]}</text>')
        x += 46 + 8 * len(NAMES[stage])
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    lines = (json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines())
    print(svg(medians(line for line in lines if "mapreduce" in line), len(os.sched_getaffinity(0))), end="")


if __name__ == "__main__":
    main()
