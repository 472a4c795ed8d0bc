"""The table host x language x group of cases that is printed at the end of a run."""

from __future__ import annotations

from collections import Counter, defaultdict

from .cases import LANGUAGES, load
from .hosts import HOSTS, REAL_HOSTS, VM_HOSTS

_results: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)


def count(host: str, language: str, group: str, mark: str) -> None:
    """Note one case: mark is passed, failed or missing (something it needs is not built)."""
    _results[host, language, group][mark] += 1


def lines() -> list[str]:
    """The table: passed/applying in each cell, ! where one has failed, ? where something is not built."""
    groups = sorted({group for _, _, group in _results})
    rows = [["host", "language", *groups, "in all"]]
    for host in HOSTS:
        for language in LANGUAGES:
            cells = [_results.get((host, language, group), Counter()) for group in groups]
            if any(cells):
                rows.append([host, language, *map(_cell, cells), _cell(sum(cells, Counter()))])
    widths = [max(map(len, column)) for column in zip(*rows)]
    texts = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    played = {host for host, _, _ in _results}
    if played & {*REAL_HOSTS}:
        texts.append(f"on {' and '.join(REAL_HOSTS)} not played, by what of the fake they need:")
        texts += _without([(need, case.id) for case in load() for need in case.needs])
    if played & {*VM_HOSTS}:
        texts.append(f"on {' and '.join(VM_HOSTS)} besides, by what there is not:")
        commons = [case for case in load() if not case.needs and not case.only and case.hypervisor != "process"]
        texts += _without([(case.not_in_vms, case.id) for case in commons if case.not_in_vms])
    return texts if len(rows) > 1 else []


def _without(cases: list[tuple[str, str]]) -> list[str]:
    """A line a need."""
    needs = sorted({need for need, _ in cases})
    return [f"  {need}: {', '.join(name for other, name in cases if other == need)}" for need in needs]


def _cell(marks: Counter[str]) -> str:
    applying = marks["passed"] + marks["failed"]
    text = f"{marks['passed']}/{applying}" if applying else "?" if marks["missing"] else "-"
    return text + ("!" if marks["failed"] else "")
