"""A MemoryHandler that keeps lines back: flushed by before_clone(), no line is written by two."""

import logging
import logging.handlers

from harness import family

from gridcentric import guest

to_file = logging.FileHandler("log")
kept = logging.handlers.MemoryHandler(1000, target=to_file)
logger = logging.getLogger("program")
logger.setLevel(logging.INFO)
logger.addHandler(kept)
guest.before_clone(kept.flush)
for n in range(20):
    logger.info("before %d", n)


def work(vmid: int) -> None:
    logger.info("after %d", vmid)
    kept.flush()


family(work)
with open("log") as file:
    assert sorted(file.read().split("\n")) == sorted(
        ["", *(f"before {n}" for n in range(20)), *(f"after {n}" for n in range(4))]
    )
