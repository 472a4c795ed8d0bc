"""docs/platforms.md is what was recorded, and a cell that passes has really run its programs to their end."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from matrix import cells, document, places, playing, record  # noqa: E402

CELL = cells.Cell("node", "20", "plain", ("node",))


def test_the_document_is_made_of_the_records() -> None:
    records = record.load(ROOT / "docs" / "platforms.json")
    assert records, "nothing was ever played"
    assert (ROOT / "docs" / "platforms.md").read_text() == document.document(cells.cells(), records)


def test_names_are_unique() -> None:
    names = [cell.name for cell in cells.cells()]
    assert len(set(names)) == len(names)


def test_a_played_part_leaves_the_rest(tmp_path: Path) -> None:
    kept = record.Record(record.PASSED, passed={"c": 12}, versions={"Linux": "6.18"}, date="2026-01-01")
    record.save(tmp_path / "platforms.json", {"a": kept, "b": kept})
    record.save(tmp_path / "platforms.json", {**record.load(tmp_path / "platforms.json"), "b": record.Record(record.FAILED)})
    assert record.load(tmp_path / "platforms.json") == {"a": kept, "b": record.Record(record.FAILED)}


def test_programs_that_passed() -> None:
    assert playing.checks(CELL, "node", places.Ran(0, "ok a\nok b\nmode plain\n2 passed\n", "")) == 2
    assert playing.checks(CELL, "shell", places.Ran(0, "ok a\nmode none\n1 passed\n", "")) == 1


@pytest.mark.parametrize(
    ("ran", "why"),
    [
        (places.Ran(1, "ok a\nmode plain\n1 passed\n", "Error: the end\n at x\n"), "Error: the end .exit status 1."),
        (places.Ran(-11, "ok a\n", ""), "exit status -11"),
        (places.Ran(0, "", ""), "0 checks"),
        (places.Ran(0, "ok a\nmode plain\n", ""), "last line"),
        (places.Ran(0, "ok a\nmode plain\n2 passed\n", ""), "last line"),
        (places.Ran(0, "ok a\nmode pidns\n1 passed\n", ""), "mode pidns, expected plain"),
    ],
)
def test_programs_that_did_not(ran: places.Ran, why: str) -> None:
    with pytest.raises(playing.Wrong, match=why):
        playing.checks(CELL, "node", ran)


def test_no_folder_of_this_computer_is_written_down() -> None:
    ran = places.Ran(1, "", "Error: cannot start a host with '/home/ada/work/gridcentric/bin/gc': Too many open files\n")
    assert playing.reason(ran) == "Error: cannot start a host with 'gc': Too many open files (exit status 1)"
