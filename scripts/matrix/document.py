"""docs/platforms.md, from the table and the records alone."""

from __future__ import annotations

from collections.abc import Iterable

from .cells import AXES, Cell
from .record import NOT_TRIED, PASSED, Record

HEAD = """\
# Where it runs

Made by `nox -s matrix`, from what it saw; not written by hand. Each row is a system on which the programs of
[tests/platform](../tests/platform/README.md) were played, three rounds of three clones; the number is that of their checks
that passed. `pidns` and `plain` are the modes of the process hypervisor: with user namespaces clones keep their pid, without
them they get a new one.
"not tried" says nothing about whether it works.

The rows are x86-64. aarch64 has never run: the live clone refuses there, and so do the packages. musl has never run either.
"""


def cell_text(record: Record | None) -> str:
    if record is None or record.outcome == NOT_TRIED:
        return NOT_TRIED
    checks = f" ({sum(record.passed.values())})" if record.passed else ""
    return f"{record.outcome if record.outcome == PASSED else f'**{record.outcome}**'}{checks}"


def details(record: Record | None) -> tuple[str, str]:
    if record is None or record.outcome == NOT_TRIED:
        return "", ""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return versions, record.date


def table(title: str, cells: list[Cell], records: dict[str, Record]) -> Iterable[str]:
    values = list(dict.fromkeys(cell.value for cell in cells))
    modes = list(dict.fromkeys(cell.seen_mode for cell in cells))
    yield f"\n## {title}\n"
    yield f"| | {' | '.join(modes)} | on | seen |"
    yield f"|{'---|' * (len(modes) + 3)}"
    for value in values:
        row = [next((c for c in cells if c.value == value and c.seen_mode == mode), None) for mode in modes]
        found = [records.get(cell.name) if cell else None for cell in row]
        versions, date = next((details(r) for r in found if any(details(r))), ("", ""))
        yield f"| {value} | {' | '.join(map(cell_text, found))} | {versions} | {date} |"
    for cell in cells:
        record = records.get(cell.name)
        if record and record.why:
            yield f"\n{cell.value}, {cell.seen_mode}, {record.outcome}: {record.why}"


def document(cells: Iterable[Cell], records: dict[str, Record]) -> str:
    all_cells = list(cells)
    lines = [HEAD.rstrip("\n")]
    for axis, title in AXES.items():
        lines += table(title, [cell for cell in all_cells if cell.axis == axis], records)
    return "\n".join(lines) + "\n"
