"""A DuckDB file stays the master's, which locks it: the master loses nothing; a clone reads, and its inserts fail."""

import duckdb
from harness import family, raised

database = duckdb.connect("rows.duckdb")
database.execute("set checkpoint_threshold='1GB'")
database.execute("create table rows (n bigint)")
database.execute("insert into rows select * from range(1000)")


def insert(n: int) -> None:
    database.execute("insert into rows values (?)", [n])


def work(vmid: int) -> list[object]:
    seen = database.execute("select count(*) from rows").fetchone()[0]
    if vmid:
        return [seen, raised(insert, vmid)]
    for n in range(200):
        insert(1000 + n)
    return [seen]


master, clones = family(work)
assert master == [1000]
assert all(seen == 1000 and error for seen, error in clones), clones
assert database.execute("select count(*), count(distinct n) from rows").fetchone() == (1200, 1200)
database.close()
again = duckdb.connect("rows.duckdb")
assert again.execute("select count(*), max(n) from rows").fetchone() == (1200, 1199)
