"""Rows of the packages themselves: how long an import takes, and an installation where there is no compiler."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .host import PYTHON
from .report import Figure
from .servers import ROOT


def medians(times: int, *runs: Callable[[], object]) -> list[float]:
    """Seconds of each run, taken in turns, so that other load on the computer affects all equally."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(times):
        for run, seconds in zip(runs, taken):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in taken]


def importing() -> list[Figure]:
    """import gridcentric beside a Python that does nothing"""

    def python(program: str) -> Callable[[], object]:
        return lambda: subprocess.run([PYTHON, "-c", program], check=True)

    empty, package, guest = medians(20, *map(python, ("pass", "import gridcentric", "from gridcentric import guest")))
    return [
        Figure("import", f"{what}, beyond the start", (seconds - empty) * 1e3, "ms", "python -c pass", empty * 1e3,
               "below 60 ms", seconds - empty < 0.06)
        for what, seconds in (("import gridcentric", package), ("from gridcentric import guest", guest))
    ]  # fmt: skip


def install() -> list[Figure]:
    """npm install of the tarball of dist/, with no compiler, beside that of an empty package"""
    tarball = next(iter(sorted((ROOT / "dist").glob("gridcentric-*.tgz"))), None)
    if tarball is None:
        raise RuntimeError("there is no dist/gridcentric-*.tgz: run nox -s prebuilds to build it")
    env = os.environ | {"CC": "false", "CXX": "false"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def new(of: str) -> Path:
            made = Path(tempfile.mkdtemp(prefix=of, dir=folder))
            (made / "package.json").write_text(json.dumps({"name": of, "version": "1.0.0"}))
            return made

        def npm(of: Path) -> Callable[[], object]:
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", str(of)]
            return lambda: subprocess.run(command, cwd=new("project"), env=env, check=True)

        empty = new("empty")
        packed = subprocess.run(["npm", "pack", "--silent"], cwd=empty, check=True, capture_output=True, text=True)
        ours, beside = medians(3, npm(tarball), npm(empty / packed.stdout.strip()))
    return [Figure("install", "npm install of the tarball", ours, "s", "of an empty package", beside, "below 10 s", ours < 10)]
