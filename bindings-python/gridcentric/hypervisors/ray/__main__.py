"""What gc becomes for `gc run --hypervisor ray` and `gc host --hypervisor ray`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from gridcentric import NotSupported
from gridcentric._advice import install
from gridcentric._host import default_socket_path
from gridcentric.hypervisors.qemu.options import add_options, do_as_told, host_of_environment, wish_of
from gridcentric.hypervisors.qemu.user_messages import tell

PLACES = {"pack": "PACK", "spread": "SPREAD"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gc", description="Programs in VMs that are cloned across a Ray cluster.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="run a program in its own VM", description="Run a program in its own VM on the cluster.")
    host = verbs.add_parser("host", help="run a host of VMs on the cluster that programs share")
    host.add_argument("--socket", default=default_socket_path(), metavar="PATH", help="where to listen; default: %(default)s")
    host.add_argument("--cpus", type=int, default=0, metavar="N",
                      help="CPUs to offer to tickets; default: those that the cluster has now")  # fmt: skip
    for verb in (run, host):
        verb.add_argument(
            "--address", default="auto", metavar="auto|HOST:PORT", help="the cluster; default: that of this computer"
        )
        verb.add_argument("--place", choices=sorted(PLACES), default="pack",
                          help="clones on as few computers as there can be, or as many; default: %(default)s")  # fmt: skip
    add_options(run)
    verbs.add_parser("gc", help="remove what killed hosts have left: here the qemu hypervisor does that")
    return parser


def _do(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.verb == "gc":
        return 0
    try:
        from gridcentric.hypervisors.qemu import run, shared_host
        from gridcentric.hypervisors.ray.host import connected
    except ImportError as error:
        tell(f"the ray hypervisor needs the Python package {error.name}: {install('ray')}")
        return NotSupported.exit_code
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if args.verb == "host":
            with connected(args.address, PLACES[args.place]) as make:
                shared_host.serve(args.socket, args.cpus, False, make)
            return 0
        wish, tickets = wish_of(parser, args, tell)
        host = host_of_environment(parser)
        if host:
            return shared_host.ask(host, wish, tell)
        # Ray prints what it notices to standard output, which is the program's; that writes to the descriptor.
        with contextlib.redirect_stdout(sys.stderr), connected(args.address, PLACES[args.place]) as make:
            return run.run(wish, tickets, tell, make)
    except shared_host.TROUBLES as error:
        tell(str(error))
        return shared_host.exit_code(error)


def main(arguments: Sequence[str] | None = None) -> int:
    return do_as_told(_parser(), arguments, _do)


if __name__ == "__main__":
    sys.exit(main())
