"""Where gridcentric runs: every system that is claimed, played."""

from __future__ import annotations

import nox

from matrix import cells, document, playing, record
from sessions.building import ROOT, needs

RECORDS, DOCUMENT = ROOT / "docs" / "platforms.json", ROOT / "docs" / "platforms.md"


@nox.session
def matrix(session: nox.Session) -> None:
    """Every system that is named as supported, into docs/platforms.md (-- AXIS or CELL ... for some; --list names them;
    --document writes it anew from what was seen; --ci is CI's part, which writes nothing)."""
    words = set(session.posargs)
    table = list(cells.cells())
    chosen = [cell for cell in table if not words - {"--ci"} or words & {cell.axis, f"{cell.axis}-{cell.value}", cell.name}]
    if "--ci" in words:
        chosen = [cell for cell in chosen if cell.ci]
    if "--list" in words:
        print("\n".join(cell.name for cell in table))
        return
    if "--document" not in words:
        known = {"--ci"} | {word for cell in table for word in (cell.axis, f"{cell.axis}-{cell.value}", cell.name)}
        if words - known:
            session.error(f"no axis or cell is called {', '.join(sorted(words - known))}; nox -s matrix -- --list names them")
        play(session, chosen, keep="--ci" not in words)
    if "--ci" not in words:
        DOCUMENT.write_text(document.document(table, record.load(RECORDS)))


def play(session: nox.Session, chosen: list[cells.Cell], keep: bool) -> None:
    needs(session, "dev", "python", "node")
    failed = []
    for cell in chosen:
        seen = playing.play(cell)
        print(
            f"{cell.name:28} {seen.outcome:16} {sum(seen.passed.values()):3} checks {seen.seconds:6.1f} s  {seen.why}",
            flush=True,
        )
        if keep:  # at once: what was seen stays, whatever ends this
            record.save(RECORDS, {**record.load(RECORDS), cell.name: seen})
        if seen.outcome == record.FAILED:
            failed.append(cell.name)
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    if failed:
        session.error(f"failed: {', '.join(failed)}")
