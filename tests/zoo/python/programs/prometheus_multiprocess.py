"""prometheus_client's multiprocess mode, whose files are named by pid: nothing that any domain has counted is lost."""

import os
from pathlib import Path

os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(Path("metrics").absolute())
Path("metrics").mkdir()

from harness import family
from prometheus_client import CollectorRegistry, Counter, generate_latest, multiprocess

requests = Counter("requests", "Requests")
requests.inc(5)


def total() -> float:
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    line = next(line for line in generate_latest(registry).decode().splitlines() if line.startswith("requests_total"))
    return float(line.split()[-1])


def work(vmid: int) -> None:
    for _ in range(100):
        requests.inc()


family(work)
assert total() == 405, total()
