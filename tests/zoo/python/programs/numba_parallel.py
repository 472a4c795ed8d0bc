"""numba: compiled code and its threads go on, and a clone compiles more."""
# zoo: full

import numba
import numpy
from harness import family


@numba.njit(parallel=True)
def total(numbers: numpy.ndarray) -> float:
    sum_ = 0.0
    for n in numba.prange(len(numbers)):
        sum_ += numbers[n] * 2
    return sum_


numbers = numpy.arange(100_000, dtype=numpy.float64)
expected = float(numbers.sum() * 2)
assert total(numbers) == expected


def work(vmid: int) -> list[float]:
    late = numba.njit(lambda n: n + vmid)
    return [total(numbers), late(1)]


master, clones = family(work)
assert [master, *clones] == [[expected, 1 + vmid] for vmid in range(4)], (master, clones)
