"""SQLAlchemy's pool of SQLite connections, used by threads: connections of before the clone are good in all domains."""

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy
from harness import family

engine = sqlalchemy.create_engine("sqlite:///rows.db", pool_size=3, connect_args={"timeout": 60})
rows = sqlalchemy.Table("rows", sqlalchemy.MetaData(), sqlalchemy.Column("domain", sqlalchemy.Integer))
rows.metadata.create_all(engine)
threads = ThreadPoolExecutor(3)


def insert(domain: int) -> None:
    with engine.begin() as connection:
        connection.execute(rows.insert().values(domain=domain))


def count(domain: int) -> int:
    with engine.connect() as connection:
        return connection.execute(sqlalchemy.select(sqlalchemy.func.count()).where(rows.c.domain == domain)).scalar_one()


list(threads.map(insert, [-1] * 10))


def work(vmid: int) -> list[int]:
    list(threads.map(insert, [vmid] * 20))
    return [count(-1), count(vmid)]


master, clones = family(work)
assert [master, *clones] == [[10, 20]] * 4, (master, clones)
assert [count(vmid) for vmid in range(-1, 4)] == [10, 20, 20, 20, 20]
