"""ProcessPoolExecutor: the master's goes on; in a clone what was submitted and what is submitted fail, a new pool works."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from harness import family, raised


def pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))


if __name__ == "__main__":
    inherited = pool()
    reading, writing = os.pipe()  # the workers inherit them
    assert list(inherited.map(abs, range(-3, 0))) == [3, 2, 1]
    under_way = inherited.submit(os.read, reading, 1)

    def work(vmid: int) -> object:
        if not vmid:
            os.write(writing, b"x")
            return [under_way.result(), *inherited.map(abs, range(-3, 0))]
        with pool() as own:
            assert list(own.map(abs, range(-3, 0))) == [3, 2, 1]
        return [raised(under_way.result), raised(lambda: inherited.submit(abs, -1).result())]

    master, clones = family(work)
    assert master == [b"x", 3, 2, 1], master
    assert all(error for clone in clones for error in clone), clones
    inherited.shutdown()
