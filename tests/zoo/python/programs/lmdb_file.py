"""LMDB's lock file says which process reads: an environment that has been read from is refused by name, a new one works."""

import os
from pathlib import Path

import lmdb
from harness import family, raised, refusal, until


def opened() -> lmdb.Environment:
    return lmdb.open("numbers", map_size=1 << 24)


def put(key: str) -> None:
    with environment.begin(write=True) as transaction:
        transaction.put(key.encode(), b"x")


environment = opened()
put("before")
text = refusal()
assert "lock.mdb" in text and "write lock on part of the file" in text, text
environment.close()


def work(vmid: int) -> str:
    global environment
    if vmid:
        until(Path("open").exists, "the master's environment")
        # LMDB knows readers by their process ids, and in pidns mode the domains have the same.
        if os.environ["GRIDCENTRIC_CLONE_MODE"] == "pidns":
            return raised(opened)
    environment = opened()
    Path("open").touch()
    for n in range(10):
        put(f"{vmid} {n}")
    return "written"


master, clones = family(work)
assert master == "written" and clones in (["written"] * 3, ["LockError"] * 3), (master, clones)
assert environment.stat()["entries"] == 11 + 10 * clones.count("written")
