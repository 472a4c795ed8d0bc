"""python -m gridcentric.reference: the reference host, with the fake hypervisor."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import sys
from pathlib import Path

from .server import Server


def default_socket() -> Path:
    folder = os.environ.get("XDG_RUNTIME_DIR")
    return (Path(folder) / "gridcentric" if folder else Path(f"/tmp/gridcentric-{os.getuid()}")) / "host.sock"


def cpus(text: str) -> int:
    value = int(text)
    if not 1 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"{value} is not from 1 to {2**31 - 1}")
    return value


def address(text: str) -> str:
    return str(ipaddress.IPv4Address(text))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m gridcentric.reference", description="The reference host of gridcentric, with the fake hypervisor."
    )
    parser.add_argument("--socket", type=Path, default=default_socket(), metavar="PATH", help="default: %(default)s")
    parser.add_argument(
        "--cpus", type=cpus, default=64 * (os.cpu_count() or 1), metavar="N", help="CPUs offered to tickets; default: 64 a core"
    )
    parser.add_argument("--control", action="store_true", help="let tests drive the host, on a virtual clock")
    parser.add_argument("--seed", type=int, metavar="N", help="of the UUIDs; default: 0 with --control, else at random")
    parser.add_argument(
        "--address-base", type=address, default="10.77.0.0", metavar="IP", help="domains count from here; default: %(default)s"
    )
    given = parser.parse_args()
    seed = given.seed
    if seed is None:
        seed = 0 if given.control else int.from_bytes(os.urandom(16), "big")

    async def serve() -> None:
        server = Server(given.socket, given.cpus, seed, given.address_base, given.control)
        await server.serve(lambda: print(f"listening on unix:{given.socket}", flush=True))

    try:
        asyncio.run(serve())
    except OSError as error:
        print(f"gridcentric.reference: can't listen on {given.socket}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
