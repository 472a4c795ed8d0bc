"""The page for Prometheus, in its text format 0.0.4. Knows only numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Union

Number = Union[int, float]
Labels = tuple[tuple[str, str], ...]
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """How long requests took, since the start."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[next((at for at, most in enumerate(BUCKETS_S) if seconds <= most), len(BUCKETS_S))] += 1
        self._sum += seconds

    def samples(self, name: str) -> Iterable[tuple[str, Labels, Number]]:
        total = 0
        for most, count in zip((*map(str, BUCKETS_S), "+Inf"), self._counts):
            total += count
            yield f"{name}_bucket", (("le", most),), total
        yield f"{name}_sum", (), self._sum
        yield f"{name}_count", (), total


class Page:
    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, text: str, samples: Union[Number, Mapping[Labels, Number], Histogram]) -> None:
        """kind: counter, gauge or histogram. A number has no labels."""
        self._lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        if isinstance(samples, Histogram):
            self._lines += [_line(*sample) for sample in samples.samples(name)]
        else:
            named = samples if isinstance(samples, Mapping) else {(): samples}
            self._lines += [_line(name, labels, value) for labels, value in named.items()]

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _line(name: str, labels: Labels, value: Number) -> str:
    shown = ",".join(f'{label}="{text}"' for label, text in labels)
    return f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"
