"""The tables of docs/random-numbers.md are those of gridcentric/generators.def. To write them anew: python FILE."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "core/include/gridcentric/generators.def"
DOCUMENT = ROOT / "docs/random-numbers.md"

ROW = re.compile(r'^GC_GENERATOR\("([^"]+)", ([A-Z]+), "([^"]*)", ([A-Z]+), "([^"]*)", "([^"]+)"\)$')
FOUND_AS = {
    "FUNCTION": "a library exports `{}`",
    "OBJECT": "the library `{}`",
    "TEXT": "a library contains `{}`",
    "MODULE": "the module `{}`",
    "PACKAGE": "the package `{}`",
    "NODE": "always there",
}


def rows() -> list[tuple[str, ...]]:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("GC_GENERATOR(")]
    matches = [ROW.match(line) for line in lines]
    assert all(matches), [line for line, match in zip(lines, matches) if match is None]
    return [match.groups() for match in matches if match]


def evidence(found_as: str, text: str) -> str:
    if found_as == "PACKAGE":
        text = text.partition("|")[0]
    text, _, reseeder = text.partition("!")
    found = FOUND_AS[found_as].format("`, `".join(part.strip("/").rstrip(".-") for part in text.split("|")))
    return f"{found} without `{reseeder.strip('/')}`" if reseeder else found


def table(outcome: str) -> str:
    """A table of the document, between its heading and the next empty line."""
    lines = [f"| {'reseeded' if outcome == 'RESEEDED' else 'repeats'} | known by | what | tried with |", "|---|---|---|---|"]
    for name, found_as, text, its_outcome, tried, what in rows():
        if its_outcome == outcome:
            lines.append(f"| {name} | {evidence(found_as, text)} | {what} | {tried or 'an imitation of the library'} |")
    return "\n".join(lines)


def written() -> str:
    """The document with both tables as they should be."""
    text = DOCUMENT.read_text()
    for outcome, head in (("RESEEDED", "| reseeded |"), ("REPEATS", "| repeats |")):
        start = text.index(head)
        text = text[:start] + table(outcome) + text[text.index("\n\n", start) :]
    return text


def test_the_document_has_the_table() -> None:
    assert DOCUMENT.read_text() == written(), f"run: python {Path(__file__).relative_to(ROOT)}"


def test_names_are_unique_and_can_be_declared() -> None:
    names = [name for name, *_ in rows()]
    assert len(names) == len(set(names))
    assert not [name for name in names if "," in name]


if __name__ == "__main__":
    DOCUMENT.write_text(written())
