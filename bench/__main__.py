"""python -m bench [--list] [ROW ...]: run the rows (all by default), print the table, write bench-out/."""

from __future__ import annotations

import argparse
import sys
import traceback

from . import report, rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names of rows (see --list); all by default")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    args = parser.parse_args()
    table = rows.table()
    if args.list:
        for name, row in table.items():
            print(f"{name:12} {(row.__doc__ or '').splitlines()[0]}")
        return 0
    unknown = [r for r in args.rows if r not in table]
    if unknown:
        parser.error(f"unknown row {', '.join(unknown)}; the rows are {', '.join(table)}")
    figures: list[report.Figure] = []
    broken = 0
    for name in args.rows or table:
        print(f"bench: {name} ...", file=sys.stderr, flush=True)
        try:
            figures += table[name]()
        except Exception:  # a row that fails must not hide the others
            traceback.print_exc()
            broken += 1
    report.show(figures)
    if figures:
        print(f"\nwritten: {report.write(figures)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
