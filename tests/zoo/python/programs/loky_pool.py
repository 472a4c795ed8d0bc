"""joblib's loky workers: the master's go on; a clone's Parallel fails at once or starts its own workers, it never hangs."""
# stderr: .*resource_tracker.*|  warnings.warn.*

import joblib
from harness import family, raised
from joblib.externals.loky import get_reusable_executor


def squares(n: int) -> list[int]:
    return joblib.Parallel(n_jobs=2)(joblib.delayed(pow)(i, 2) for i in range(n))


if __name__ == "__main__":
    assert squares(4) == [0, 1, 4, 9]

    def work(vmid: int) -> object:
        if not vmid:
            return squares(5)
        first = raised(squares, 4)
        return [first, squares(4) if not first else None]

    master, clones = family(work)
    assert master == [0, 1, 4, 9, 16], master
    assert all(first or own == [0, 1, 4, 9] for first, own in clones), clones
    assert squares(4) == [0, 1, 4, 9]
    get_reusable_executor().shutdown()
