"""Random number generators that can't be reseeded are reported, and refused by GRIDCENTRIC_STRICT. Each row of the table is
tested with a library that contains what the row looks for; tests/zoo tests the real ones.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from family import clone_all, reports

from gridcentric import NotSupported, _generators, _model, _paths, guest

REPEATING = [row for row in _generators.ALL if row.outcome == "REPEATS" and row.found_as in ("OBJECT", "TEXT")]


def look_alike(row: _generators.Generator, folder: Path) -> Path:
    """A library that contains what the row looks for."""
    path = folder / "some" / "library-1.so"
    text = b""
    if row.found_as == "OBJECT":
        wanted = row.evidence.partition("!")[0].split("|")[-1]
        path = Path(f"{folder}/lib{wanted}so" if wanted.endswith(".") else f"{folder}/lib{wanted}")
    else:
        text = row.evidence.partition("!")[0].replace("#", "3").replace("_", "  ").replace("?", "a").encode()
    path.parent.mkdir(parents=True)
    shutil.copy(an_extension(), path)
    with path.open("ab") as file:
        file.write(text)
    return path


def an_extension() -> str:
    """Some small library that can be loaded."""
    return str(_model.__file__)


def strictly(path: str, name: str) -> list[Any]:
    ctypes.CDLL(path)
    said = [line for line in guest.explain().report.splitlines() if path in line]
    ticket = guest.request_ticket(2, 2, 1, 0)
    os.environ["GRIDCENTRIC_STRICT"] = "1"
    try:
        guest.clone(ticket)
        refused = ""
    except NotSupported as error:
        refused = str(error)
    state = guest.ticket_info(ticket).status
    os.environ["GRIDCENTRIC_RESEEDED"] = f"another,{name}"
    vmid = guest.clone(ticket)
    if vmid:
        guest.join(json.dumps(vmid))
    return [said, refused, state, reports(ticket), guest.explain().report]


@pytest.mark.parametrize("row", REPEATING, ids=lambda row: row.name)
def test_what_repeats_is_named_refused_and_can_be_declared(
    row: _generators.Generator, run: Callable[..., Any], tmp_path: Path
) -> None:
    path = look_alike(row, tmp_path)
    name = row.name if row.found_as == "OBJECT" else "library-1"
    said, refused, state, clones, after = run(strictly, str(path), name)
    assert len(said) == 1, said
    assert said[0].startswith(f"note: random numbers of {row.name} ({path}) repeat in every clone: ")
    assert said[0].endswith(f"GRIDCENTRIC_RESEEDED={name}")
    assert refused.startswith(f"GRIDCENTRIC_STRICT is set, and random numbers of {row.name} ({path}) repeat")
    assert state == "reserved"
    assert clones == [1, 2]
    assert str(path) not in after


def test_gc_check_names_it_too(tmp_path: Path) -> None:
    row = next(row for row in REPEATING if row.found_as == "TEXT")
    path = look_alike(row, tmp_path)
    program = f"import ctypes; ctypes.CDLL({str(path)!r}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        command = [str(_paths.GC), "check", "--json", str(process.pid)]
        notes = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["notes"]
        process.communicate(b"\n")
    assert [note for note in notes if str(path) in note and note.startswith("random numbers of")]


def removed_library(path: str) -> list[str]:
    ctypes.CDLL(path)
    Path(path).unlink()
    return [line for line in guest.explain().report.splitlines() if path in line]


def test_a_library_that_can_not_be_read_is_named(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "gone.so"
    shutil.copy(an_extension(), path)
    (said,) = run(removed_library, str(path))
    assert "may repeat" in said
    assert said.endswith("GRIDCENTRIC_RESEEDED=gone")


def explained() -> str:
    import hashlib
    import sqlite3
    import ssl

    assert hashlib, (sqlite3, ssl)
    return guest.explain().report


def test_python_itself_has_nothing_that_repeats(run: Callable[..., Any]) -> None:
    assert "random numbers" not in run(explained)


def draw_from_libraries(paths: list[str]) -> list[Any]:
    """A draw from each, in this thread and in one that has existed since before the clone."""
    libraries = [ctypes.CDLL(path) for path in paths]
    asked, answered = threading.Semaphore(0), threading.Semaphore(0)
    theirs: list[str] = []

    def draw() -> list[str]:
        drawn = []
        for library in libraries:
            bytes_ = ctypes.create_string_buffer(16)
            assert library.RAND_bytes(bytes_, 16) == 1
            drawn.append(bytes_.raw.hex())
        return drawn

    def serve() -> None:
        while True:
            asked.acquire()
            theirs[:] = draw()
            answered.release()

    def draw_everywhere() -> list[str]:
        asked.release()
        answered.acquire()
        return draw() + theirs

    threading.Thread(target=serve, daemon=True).start()
    draw_everywhere()
    vmid, ticket = clone_all(3)
    if vmid:
        guest.join(json.dumps(draw_everywhere()))
    return [draw_everywhere(), *reports(ticket)]


def openssl() -> str:
    """The OpenSSL that Python's ssl is linked with, if that is a shared library."""
    import _ssl

    linked = subprocess.run(["ldd", _ssl.__file__ or sys.executable], capture_output=True, text=True, check=False).stdout
    found = re.search(r"=> (\S*libcrypto\.so\S*)", linked)
    if found is None:
        pytest.skip("Python has its OpenSSL inside")
    return found[1]


def test_openssl_draws_anew_under_any_name_and_number_of_times(run: Callable[..., Any], tmp_path: Path) -> None:
    copies = [tmp_path / "libcrypto-3a0647ea.so.3", tmp_path / "libother.so"]
    for copy in copies:
        shutil.copy(openssl(), copy)
    drawn = run(draw_from_libraries, [*map(str, copies)])
    every = [value for domain in drawn for value in domain]
    assert len(every) == len(set(every)) == 4 * 4, drawn
