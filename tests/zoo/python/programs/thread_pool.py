"""A ThreadPoolExecutor with work under way and more of it waiting: each clone finishes all of it."""

import time
from concurrent.futures import ThreadPoolExecutor

from harness import family


def square(n: int) -> int:
    time.sleep(0.02)
    return n * n


pool = ThreadPoolExecutor(4)
under_way = [pool.submit(square, n) for n in range(40)]


def work(vmid: int) -> list[int]:
    inherited = [future.result() for future in under_way]
    return inherited + list(pool.map(square, range(vmid * 10, vmid * 10 + 8)))


master, clones = family(work)
for vmid, results in enumerate([master, *clones]):
    assert results == [n * n for n in [*range(40), *range(vmid * 10, vmid * 10 + 8)]], results
