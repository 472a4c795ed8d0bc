"""SQLite, in WAL mode and with a rollback journal, opened before the clone in two threads: all go on, and no row is lost."""

import sqlite3
import threading

from harness import family, refusal

ROWS, THREADS, JOURNALS = 10, 2, ("wal", "delete")


def connect(journal: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{journal}.db", isolation_level=None, timeout=60, check_same_thread=False)


inherited = {journal: [connect(journal) for _ in range(THREADS)] for journal in JOURNALS}
for journal, [first, *_] in inherited.items():
    assert first.execute(f"pragma journal_mode={journal}").fetchone() == (journal,)
    first.execute("create table rows (domain, thread, n)")
    first.execute("begin immediate")
    assert f"{journal}.db" in (text := refusal()) and "transaction" in text, text
    first.execute("rollback")


def work(vmid: int) -> list[int]:
    def write(thread: int) -> None:
        for n in range(ROWS):
            for connections in inherited.values():
                connections[thread].execute("insert into rows values (?, ?, ?)", (vmid, thread, n))
        for connections in inherited.values():
            connections[thread].close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own = "select count(*) from rows where domain=?"
    return [connect(journal).execute(own, (vmid,)).fetchone()[0] for journal in JOURNALS]


master, clones = family(work)
assert [master, *clones] == [[ROWS * THREADS] * 2] * 4, (master, clones)
for after in map(connect, JOURNALS):
    assert after.execute("select count(*) from rows").fetchone()[0] == 4 * ROWS * THREADS
    assert after.execute("pragma integrity_check").fetchone() == ("ok",)
