"""gridcentric-chat-demo: starts the chat that scales itself, like `make demo` in a checkout. demos/run, which is part of the
package, does the work and describes the options; this only tells it which Python to use."""

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
        sys.exit("gridcentric-chat-demo: cannot start: bash is not on PATH")


if __name__ == "__main__":
    main()
