"""A row's measurement, and how it is reported: a table on the terminal, JSON and plots in bench-out/."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "bench-out"


@dataclass
class Figure:
    """One measured figure and its baseline."""

    row: str
    what: str
    value: float
    unit: str
    beside: str = ""  # what it is compared with
    beside_value: float | None = None
    bar: str = ""  # the target, in words
    met: bool | None = None  # None: there is no target
    details: dict[str, object] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return self.value / self.beside_value if self.beside_value else None


def number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def show(figures: list[Figure]) -> None:
    head = ("row", "what", "measured", "beside", "ratio", "bar", "met")
    lines = [head]
    for f in figures:
        beside = f"{number(f.beside_value)} {f.unit} {f.beside}" if f.beside_value is not None else f.beside
        ratio = f"{f.ratio:.3g}x" if f.ratio is not None else ""
        met = {None: "", True: "yes", False: "NO"}[f.met]
        lines.append((f.row, f.what, f"{number(f.value)} {f.unit}", beside, ratio, f.bar, met))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for i, line in enumerate(lines):
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip())
        if i == 0:
            print("  ".join("-" * w for w in widths))


def write(figures: list[Figure]) -> Path:
    OUT.mkdir(exist_ok=True)
    path = OUT / "bench.json"
    known: dict[str, object] = {}
    if path.exists():
        known = json.loads(path.read_text())["figures"]
    for f in figures:
        known[f"{f.row}: {f.what}"] = asdict(f) | {"ratio": f.ratio, "measured_at": time.strftime("%F %T")}
    machine = {"kernel": platform.release(), "machine": platform.machine(), "python": platform.python_version()}
    path.write_text(json.dumps({"machine": machine, "figures": known}, indent=2) + "\n")
    return path


def plot(name: str, title: str, x: str, y: str, series: dict[str, list[tuple[float, float]]]) -> Path:
    """A line plot with one line per series, in bench-out/NAME.svg."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    OUT.mkdir(exist_ok=True)
    figure, axes = plt.subplots(figsize=(7, 4))
    for label, points in series.items():
        axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=label)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    path = OUT / f"{name}.svg"
    figure.savefig(path)
    plt.close(figure)
    return path
