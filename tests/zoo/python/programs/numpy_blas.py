"""numpy while another thread multiplies in OpenBLAS' threads: each clone computes the same."""

import threading

import numpy
from harness import background, family, until

left, right = (numpy.random.default_rng(seed).standard_normal((300, 300)) for seed in (1, 2))
product, products, wrong = left @ right, [0], []


def multiply() -> None:
    while True:
        if not numpy.allclose(left @ right, product):
            wrong.append(products[0])
        products[0] += 1


background(multiply)
until(lambda: products[0] > 3, "products")


def work(vmid: int) -> list[object]:
    before = products[0]
    own = bool(numpy.allclose(left @ right, product))
    until(lambda: products[0] > before + 3, "products of the inherited thread")
    return [own, wrong, threading.active_count()]


master, clones = family(work)
assert clones == [master] * 3 and master[0] and not master[1], (master, clones)
