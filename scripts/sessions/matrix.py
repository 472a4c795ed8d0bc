"""Where gridcentric runs: tests on every system that we claim to support."""

from __future__ import annotations

import nox

from matrix import cells, document, playing, record
from sessions.building import ROOT, needs

RECORDS, DOCUMENT = ROOT / "docs" / "platforms.json", ROOT / "docs" / "platforms.md"


@nox.session
def matrix(session: nox.Session) -> None:
    """Tests every supported system and writes docs/platforms.md (-- AXIS or CELL ... for some of them; -- --list lists them;
    -- --document only rewrites the document from the records)."""
    table, words = list(cells.cells()), set(session.posargs)
    if "--list" in words:
        print("\n".join(cell.name for cell in table))
        return
    names = {word for cell in table for word in cell.names}
    if unknown := words - names - {"--document"}:
        session.error(f"there is no axis or cell {', '.join(sorted(unknown))}; nox -s matrix -- --list lists them")
    if "--document" not in words:
        play(session, [cell for cell in table if not words or words & cell.names], keep=True)
    DOCUMENT.write_text(document.document(table, record.load(RECORDS)))


@nox.session(name="matrix-ci")
def matrix_ci(session: nox.Session) -> None:
    """The part of the matrix that CI runs: minutes; it records nothing."""
    play(session, [cell for cell in cells.cells() if cell.ci], keep=False)


def play(session: nox.Session, chosen: list[cells.Cell], keep: bool) -> None:
    needs(session, "dev", "python", "node")
    failed = []
    for cell in chosen:
        seen = playing.play(cell)
        checks = sum(seen.passed.values())
        print(f"{cell.name:22} {seen.outcome:16}{checks:3} checks {seen.seconds:6.1f} s  {seen.why}", flush=True)
        if keep:  # at once, so that results are kept whatever ends this
            record.save(RECORDS, {**record.load(RECORDS), cell.name: seen})
        if seen.outcome == record.FAILED:
            failed.append(cell.name)
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    if failed:
        session.error(f"failed: {', '.join(failed)}")
