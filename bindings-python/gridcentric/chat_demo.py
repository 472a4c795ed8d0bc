"""gridcentric-chat-demo: the chat that scales itself, as `make demo` starts it in a checkout. What it does and its options are
in demos/run, which comes with the package; this only says with which Python."""

from __future__ import annotations

import os
import sys

from gridcentric import _paths


def main() -> None:
    environment = {
        **os.environ,
        "GRIDCENTRIC_DEMO_NAME": "gridcentric-chat-demo",
        "GRIDCENTRIC_DEMO_PYTHON": sys.executable,
        "GRIDCENTRIC_DEMO_GC": str(_paths.GC),
    }
    try:
        os.execvpe("bash", ["bash", str(_paths.DEMOS / "run"), *sys.argv[1:]], environment)
    except FileNotFoundError:
        sys.exit("gridcentric-chat-demo: it is started by bash, and there is none on PATH")


if __name__ == "__main__":
    main()
