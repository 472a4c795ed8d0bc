"""multiprocessing.Pool: the master's goes on; in a clone the inherited one fails at once and says why, a new one works."""

import multiprocessing

from harness import family, raised

context = multiprocessing.get_context("fork")


def square(n: int) -> int:
    return n * n


if __name__ == "__main__":
    pool = context.Pool(2)
    assert pool.map(square, range(4)) == [0, 1, 4, 9]

    def work(vmid: int) -> object:
        if not vmid:
            return pool.map(square, range(20)) == [n * n for n in range(20)]
        with context.Pool(2) as own:
            assert own.map(square, range(4)) == [0, 1, 4, 9]
        return raised(pool.map, square, range(4))

    master, clones = family(work)
    assert master is True and all(clones), (master, clones)
    assert pool.map(square, range(4)) == [0, 1, 4, 9]
    pool.close()
    pool.join()
