"""The hazard of docs/live-clone.md: a write transaction that is open while cloned, and whose file lock stays the master's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sqlite3, sys
from gridcentric import guest

database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
database.execute("create table numbers (n)")
database.execute("begin immediate")
database.execute("insert into numbers values (1)")
ticket = guest.request_ticket(2, 2, 1, 0)
if guest.clone(ticket) > 0:
    said = [str(database.in_transaction)]
    for statement in ("insert into numbers values (2)", "commit"):
        try:
            database.execute(statement)
        except sqlite3.OperationalError as error:
            said.append(str(error))
    guest.join(",".join(said))
print([result.report.decode() for result in guest.wait(ticket, -1)])
database.execute("commit")
print(database.execute("select n from numbers").fetchall(), database.execute("pragma integrity_check").fetchone())
"""


@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_a_clone_cannot_end_the_masters_transaction(mode: str, tmp_path: Path) -> None:
    env = os.environ | {"GRIDCENTRIC_CLONE_MODE": mode}
    path = str(tmp_path / "numbers.db")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, path], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    clones, master = result.stdout.splitlines()
    assert clones == "['True,database is locked', 'True,database is locked']", "in a transaction that can't be committed"
    assert master == "[(1,)] ('ok',)", "the master's transaction alone is in the file"
