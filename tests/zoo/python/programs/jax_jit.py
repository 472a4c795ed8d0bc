"""JAX: compiled functions go on in each clone, which compiles more."""
# zoo: full

import jax
import jax.numpy
from harness import family

numbers = jax.numpy.arange(1000.0)
total = jax.jit(lambda a: (a * a).sum())
expected = float(total(numbers))


def work(vmid: int) -> list[float]:
    late = jax.jit(lambda a: (a + vmid).max())
    return [float(total(numbers)), float(late(numbers))]


master, clones = family(work)
assert [master, *clones] == [[expected, 999.0 + vmid] for vmid in range(4)], (master, clones)
