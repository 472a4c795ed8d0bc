"""gridcentric-demo: starts a demo by its name, like `make demo DEMO=NAME` in a checkout; without a name, lists them.
demos/start, which is part of the package, does the work; this only starts it with this Python."""

from __future__ import annotations

import os
import sys

from gridcentric import _paths


def main() -> None:
    start = [sys.executable, str(_paths.DEMOS / "start"), *sys.argv[1:]]
    os.execve(sys.executable, start, {**os.environ, "GRIDCENTRIC_DEMO_NAME": "gridcentric-demo"})


if __name__ == "__main__":
    main()
