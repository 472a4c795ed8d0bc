"""A transaction of a child: the clone waits until it is over. GC_REPEAT=N plays each N times."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from from_within import CLONE, FINALLY

repeated = pytest.mark.parametrize("repeat", range(int(os.environ.get("GC_REPEAT", "1"))))

# The writer moves between two accounts all the time, in transactions that last as long as the pauses between them.
WRITER = """
import sqlite3, sys, time

bank = sqlite3.connect("bank", timeout=30, isolation_level=None)
print("ready", flush=True)
for moved in range(1, 1000000):
    bank.execute("begin immediate")
    bank.execute("update account set money = money - 1 where name = 'a'")
    time.sleep(0.02)
    bank.execute("update account set money = money + 1 where name = 'b'")
    bank.execute("commit")
    print(moved, flush=True)
    time.sleep(0.02)
"""
PARENT = (
    """
import os, sqlite3, subprocess, sys

bank = sqlite3.connect("bank", timeout=30, isolation_level=None)
bank.execute("pragma journal_mode = MODE")
bank.execute("create table account (name text, money int)")
bank.execute("insert into account values ('a', 1000000), ('b', 0)")
writer = subprocess.Popen([sys.executable, "writer.py"], stdout=subprocess.PIPE, text=True)
writer.stdout.readline()
writer.stdout.readline()
"""
    + CLONE
    + """
first = int(writer.stdout.readline())
later = [int(writer.stdout.readline()) for _ in range(5)]
whole = {bank.execute("select sum(money) from account").fetchone()[0] for _ in range(20)}
right = later == list(range(first + 1, first + 6))
check = bank.execute("pragma integrity_check").fetchone()[0]
writer.kill()
os.write(1, f"{vmid} {right} {whole} {check} {writer.wait()}\\n".encode())
"""
    + FINALLY
)


@repeated
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_child_that_writes_to_a_database(tree: Any, mode: str, repeat: int) -> None:
    """Master and clones write to one file from then on, as other processes would."""
    (tree.folder / "writer.py").write_text(WRITER)
    (tree.folder / "parent.py").write_text(PARENT.replace("MODE", mode))
    assert tree.lines(sys.executable, "parent.py") == [f"{vmid} True {{1000000}} ok -9" for vmid in range(3)]
