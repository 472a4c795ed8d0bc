"""psycopg, its pool and SQLAlchemy's: the master's transaction goes on; a clone's pools open their own connections."""
# server: postgres

import os

import psycopg
import sqlalchemy
from harness import family, raised
from psycopg_pool import ConnectionPool

host, port = os.environ["GC_ZOO_POSTGRES"].split(":")
address = f"host={host} port={port} user=zoo dbname=postgres"
transaction = psycopg.connect(address)
transaction.execute("create table if not exists python_rows (vmid int)")
transaction.execute("truncate python_rows")
transaction.commit()
engine = sqlalchemy.create_engine(f"postgresql+psycopg://zoo@{host}:{port}/postgres", pool_pre_ping=True)
pool = ConnectionPool(address, min_size=2, check=ConnectionPool.check_connection, open=True)
pool.wait()


def insert(vmid: int) -> None:
    with pool.connection() as connection:
        connection.execute("insert into python_rows values (%s)", [vmid])
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("insert into python_rows values (:vmid)"), {"vmid": vmid})


insert(-1)
transaction.execute("insert into python_rows values (100)")


def work(vmid: int) -> str:
    insert(vmid)
    return raised(transaction.execute, "insert into python_rows values (101)")


master, clones = family(work)
transaction.commit()
assert master == "" and clones == ["OperationalError"] * 3, (master, clones)
rows = transaction.execute("select vmid from python_rows order by vmid").fetchall()
assert [vmid for (vmid,) in rows] == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 100, 101], rows
pool.close()
