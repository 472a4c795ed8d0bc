"""gc selftest uniqueness: prints a table of rows, and exits with 0 only if none has failed."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict

from gridcentric import _native
from gridcentric.selftest import rows
from gridcentric.selftest.families import Unheard, run

MOST_CLONES = 256


def _clones(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_CLONES:
        raise argparse.ArgumentTypeError(f"'{text}', expected 1 to {MOST_CLONES}")
    return int(text)


WHOLE_MACHINE = dict(_native.hypervisors())
"""Whether each hypervisor clones whole machines, the default one first."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gc selftest", description="Make clones and check what is promised of them.")
    verbs = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    uniqueness = verbs.add_parser(
        "uniqueness",
        help="what must differ in each clone",
        description="Make clones, and check row by row what must differ in each: random numbers, names, addresses, clock, "
        "connections. Exit code 0: every row that applies has passed. A row that could not be checked has failed.",
    )
    uniqueness.add_argument(
        "--hypervisor", default=next(iter(WHOLE_MACHINE)), choices=tuple(WHOLE_MACHINE),
        help="which hypervisor makes the clones; default: %(default)s"
    )  # fmt: skip
    uniqueness.add_argument("--clones", type=_clones, default=3, metavar="N", help="how many; default: %(default)s")
    uniqueness.add_argument("--without-node", action="store_true", help="omit Node's rows, where Node is not installed")
    uniqueness.add_argument(
        "--import", dest="python", action="append", default=[], metavar="MODULE",
        help="a Python module that your program imports; fails if it loads a library whose random numbers repeat in clones",
    )  # fmt: skip
    uniqueness.add_argument(
        "--require", dest="node", action="append", default=[], metavar="PACKAGE", help="the same for an npm package"
    )
    uniqueness.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _family(probe: str, hypervisor: str, clones: int, loads: Sequence[str]) -> rows.Said | str:
    try:
        return run(probe, hypervisor, WHOLE_MACHINE[hypervisor], clones, loads)
    except Unheard as reason:
        return str(reason)


def _print_table(verdicts: list[rows.Verdict]) -> None:
    table = [("row", "result", "detail"), *((v.name, v.result, v.detail) for v in verdicts)]
    widths = [max(len(line[column]) for line in table) for column in (0, 1)]
    for name, result, detail in table:
        print(f"{name:{widths[0]}}  {result:{widths[1]}}  {detail}")


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    probes = [probe for probe in ("python", "node") if probe == "python" or not args.without_node]
    try:
        said = {probe: _family(probe, args.hypervisor, args.clones, getattr(args, probe)) for probe in probes}
    except KeyboardInterrupt:
        return 130
    verdicts = rows.judge(said, WHOLE_MACHINE[args.hypervisor])
    failed = sum(verdict.result == rows.FAILED for verdict in verdicts)
    if args.json:
        shown = {"hypervisor": args.hypervisor, "clones": args.clones, "passed": not failed, "rows": [*map(asdict, verdicts)]}
        print(json.dumps(shown, indent=2))
    else:
        _print_table(verdicts)
        count = {
            result: sum(v.result == result for v in verdicts) for result in (rows.PASSED, rows.FAILED, rows.NOT_APPLICABLE)
        }
        print(f"{args.hypervisor}, {args.clones} clones: " + ", ".join(f"{n} {result}" for result, n in count.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
