"""python -m gridcentric: tells compilers, build systems and scripts about this installation."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from gridcentric import __version__, _paths

_EXAMPLES = """
    cc program.c -o program $(python -m gridcentric --cflags --libs)
    PKG_CONFIG_PATH=$(python -m gridcentric --pkg-config-path) pkg-config --cflags --libs gridcentric
    cmake -DCMAKE_PREFIX_PATH=$(python -m gridcentric --prefix) .      # find_package(gridcentric)
"""

# option: (what it prints, the paths that it mentions, help)
_ANSWERS: dict[str, tuple[str, tuple[Path, ...], str]] = {
    "cflags": (shlex.quote(f"-I{_paths.INCLUDE}"), (_paths.INCLUDE,), "flags for the C compiler"),
    "libs": (
        # With an rpath, so that the program finds the library without LD_LIBRARY_PATH.
        f"{shlex.quote(f'-L{_paths.LIB}')} -lgridcentric {shlex.quote(f'-Wl,-rpath,{_paths.LIB}')}",
        (_paths.LIB,),
        "flags for the linker",
    ),
    "pkg-config-path": (str(_paths.PKG_CONFIG), (_paths.PKG_CONFIG,), "the folder of gridcentric.pc"),
    "prefix": (
        str(_paths.PACKAGE),
        (_paths.LIB / "cmake",),
        "for CMAKE_PREFIX_PATH: the folder that contains include/ and lib/",
    ),
    "gc": (str(_paths.GC), (_paths.GC,), "the path of the gc command"),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gridcentric",
        description=f"{__doc__}\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    for name, (_, _, text) in _ANSWERS.items():
        parser.add_argument(f"--{name}", action="append_const", const=name, dest="wanted", help=text)
    wanted: list[str] = parser.parse_args().wanted or []
    if wanted:
        print(*(_ANSWERS[name][0] for name in wanted))
    else:
        for name, text in (("version", __version__), *((name, answer[0]) for name, answer in _ANSWERS.items())):
            print(f"{name:<16} {text}")
    missing = {path: None for name in wanted or _ANSWERS for path in _ANSWERS[name][1] if not path.exists()}
    for path in missing:
        print(f"gridcentric: {path} does not exist; reinstall the package", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
