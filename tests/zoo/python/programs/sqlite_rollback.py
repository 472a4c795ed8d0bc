"""SQLite with a rollback journal, opened before the clone in two threads: all go on with their connections, no row is lost."""

import sqlite3
import threading

from harness import family, refusal

ROWS, THREADS = 10, 2


def connect() -> sqlite3.Connection:
    return sqlite3.connect("rows.db", isolation_level=None, timeout=60, check_same_thread=False)


inherited = [connect() for _ in range(THREADS)]
inherited[0].execute("pragma journal_mode=delete")
inherited[0].execute("create table rows (domain, thread, n)")
inherited[0].execute("begin immediate")
assert "rows.db" in (text := refusal()) and "transaction" in text, text
inherited[0].execute("rollback")


def work(vmid: int) -> int:
    def write(thread: int) -> None:
        for n in range(ROWS):
            inherited[thread].execute("insert into rows values (?, ?, ?)", (vmid, thread, n))
        inherited[thread].close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return connect().execute("select count(*) from rows where domain=?", (vmid,)).fetchone()[0]


master, clones = family(work)
assert [master, *clones] == [ROWS * THREADS] * 4, (master, clones)
after = connect()
assert after.execute("select count(*) from rows").fetchone()[0] == 4 * ROWS * THREADS
assert after.execute("pragma integrity_check").fetchone() == ("ok",)
