"""python -m gridcentric: where the header, the library and gc of this installation are, for compilers and scripts."""

from __future__ import annotations

import argparse
import sys

from gridcentric import __version__, _paths


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m gridcentric", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--include", action="store_true", help="the folder of gridcentric/gc-guest.h")
    parser.add_argument("--libs", action="store_true", help="the folder of libgridcentric.so")
    parser.add_argument("--gc", action="store_true", help="the gc command")
    chosen = parser.parse_args()
    wanted = [
        path for path, asked in ((_paths.INCLUDE, chosen.include), (_paths.LIB, chosen.libs), (_paths.GC, chosen.gc)) if asked
    ]
    if wanted:
        print(*wanted, sep="\n")
    else:
        print(f"version  {__version__}\ninclude  {_paths.INCLUDE}\nlibs     {_paths.LIB}\ngc       {_paths.GC}")
    missing = [path for path in wanted or (_paths.INCLUDE, _paths.LIB, _paths.GC) if not path.exists()]
    for path in missing:
        print(f"gridcentric: {path} is not there; install the package anew, from where it came", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
