"""SQLite, opened before the clone and used by all afterwards: no committed row is lost, whatever was in progress.

GC_REPEAT=N runs each case N times.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

REPEAT = int(os.environ.get("GC_REPEAT", "1"))
HANG = float(os.environ.get("GC_HANG_SECONDS", "120"))  # a guard against hangs

# The caller itself is in a transaction, which no other thread can end.
TRANSACTION = """
import sqlite3, sys
from gridcentric import Error, guest

database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
database.execute(f"pragma journal_mode={sys.argv[2]}")
database.execute("create table numbers (n)")
database.execute("begin immediate")
database.execute("insert into numbers values (1)")
ticket = guest.request_ticket(2, 2, 1, 0)
print(guest.explain().report)
try:
    guest.clone(ticket)
except Error as error:
    print(error)
database.execute("commit")
if guest.clone(ticket) > 0:
    database.execute("pragma busy_timeout=60000")
    database.execute("insert into numbers values (?)", (guest.vmid(),))
    guest.join("done")
guest.wait(ticket, -1)
print(database.execute("select count(*) from numbers").fetchall(), database.execute("pragma integrity_check").fetchone())
"""

# Writers in several threads, each with its own connection; which closes first and last is random.
WRITERS = """
import json, random, sqlite3, sys, threading, time
from gridcentric import Error, guest

path, mode, each, threads, clones = sys.argv[1], sys.argv[2], 25, 3, 2
idle = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
idle.execute(f"pragma journal_mode={mode}")
idle.execute("create table rows (domain, thread, n)")
idle.execute("pragma wal_autocheckpoint=20")
databases = [sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False) for _ in range(threads)]
committed, domain, begun, failed = [], 0, threading.Event(), []

def write(thread, count, until=lambda: False):
    try:
        for n in range(count):
            mine = (domain, thread, n + 1000 * domain)
            databases[thread].execute("begin immediate")
            databases[thread].execute("insert into rows values (?, ?, ?)", mine)
            databases[thread].execute("insert into rows values (?, ?, ?)", mine)
            databases[thread].execute("commit")
            committed.append(mine)
            time.sleep(random.random() / 500)
            if len(committed) > 10: begun.set()
            if until(): break
    except Exception as error:
        failed.append(repr(error))
        begun.set()

over = threading.Event()
writing = [threading.Thread(target=write, args=(t, 1000, over.is_set)) for t in range(threads)]
for thread in writing: thread.start()
begun.wait()
ticket = guest.request_ticket(clones, clones, 1, 0)
vmid = guest.clone(ticket)
random.seed()
# The threads' inherited state keeps the old number; rows written from here on have the new one.
domain = vmid
over.set()
for thread in writing: thread.join()
writing = [threading.Thread(target=write, args=(t, each)) for t in range(threads)]
for thread in writing: thread.start()
for thread in writing: thread.join()
time.sleep(random.random() / 50)
everything = [idle, *databases]
random.shuffle(everything)
for database in everything: database.close()
if vmid > 0:
    guest.join(json.dumps([committed, failed]))
kept, errors = {tuple(row) for row in committed}, list(failed)
for result in guest.wait(ticket, -1):
    rows, more = json.loads(result.report)
    kept |= {tuple(row) for row in rows}
    errors += more
check = sqlite3.connect(path)
rows = {}
for row in check.execute("select domain, thread, n from rows"): rows[row] = rows.get(row, 0) + 1
lost = [row for row in kept if rows.get(row, 0) < 2]
half = [row for row, n in rows.items() if n % 2]
print(check.execute("pragma integrity_check").fetchone()[0], len(lost), "lost", len(half), "half", errors)
"""


def play(program: str, mode: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"GRIDCENTRIC_CLONE_MODE": mode},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("mode", ["pidns", "plain"])
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_transaction_of_the_caller_is_refused_with_its_path(mode: str, journal: str, tmp_path: Path) -> None:
    path = str(tmp_path / "numbers.db")
    output = play(TRANSACTION, mode, path, journal)
    locked = path + ("-shm" if journal == "wal" else "")
    note, refusal = [line for line in output.splitlines() if "transaction" in line]
    assert note.startswith("note: ") and locked in note
    assert locked in refusal and "commit, roll back or close" in refusal
    assert output.splitlines()[-1] == "[(3,)] ('ok',)", "the master commits, and then everybody writes"


@pytest.mark.parametrize("repeat", range(REPEAT))
@pytest.mark.parametrize("mode", ["pidns", "plain"])
@pytest.mark.parametrize("journal", ["wal", "delete", "truncate", "persist"])
def test_busy_writers_lose_nothing(mode: str, journal: str, repeat: int, tmp_path: Path) -> None:
    assert play(WRITERS, mode, str(tmp_path / "rows.db"), journal) == "ok 0 lost 0 half []\n"


def test_a_database_in_memory_loses_nothing() -> None:
    """The -shm file of a database in /dev/shm looks like memory that the program shares only with itself."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert play(WRITERS, "pidns", folder + "/rows.db", "wal") == "ok 0 lost 0 half []\n"
