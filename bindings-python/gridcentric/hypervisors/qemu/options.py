"""What gc run and gc host for VMs are told, by options and by the environment. Knows nothing of where the VMs are."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gridcentric.hypervisors.qemu.user_messages import have_standard_streams

if TYPE_CHECKING:  # needs the packages of the extra `qemu`, which the options do not
    from gridcentric.hypervisors.qemu.run import Wish


def add_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--image", default="default", metavar="NAME", help="the VM's image (gc image ls); default: %(default)s")
    run.add_argument("--memory", default="256M", metavar="SIZE", help="the VM's memory, as 256M or 1G; default: %(default)s")
    run.add_argument("--cpus", type=int, default=1, metavar="N", help="virtual CPUs of the VM; default: %(default)s")
    run.add_argument("--outside", action="store_true", help="the VMs reach what this machine reaches, but not its loopback")
    run.add_argument("--init", metavar="PATH", default="", help="boot the image's init system, as /sbin/init; default: none")
    run.add_argument("--disk", metavar="SIZE", help="files that the VM writes go to a disk, as 4G; default: to its memory")
    run.add_argument(
        "--publish",
        action="append",
        default=[],
        metavar="HERE:THERE",
        help="lead port HERE of 127.0.0.1 to THERE of the master",
    )
    run.add_argument("--copy", action="append", default=[], metavar="FROM:TO", help="copy a file or folder into the VM first")
    run.add_argument("command", nargs="+", metavar="COMMAND", help="the program and its arguments, after --")


def _mib(option: str, text: str, least: int, largest: int, expected: str) -> int:
    units = {"M": 1, "G": 1024}
    number, unit = text[:-1], text[-1:].upper()
    if not (number.isascii() and number.isdigit()) or unit not in units or not least <= int(number) * units[unit] <= largest:
        raise argparse.ArgumentTypeError(f"{option} {text}: expected {expected}")
    return int(number) * units[unit]


def _ports(text: str) -> tuple[int, int]:
    here, _, there = text.partition(":")
    if not (here.isdigit() and there.isdigit() and 0 < int(here) < 65536 and 0 < int(there) < 65536):
        raise argparse.ArgumentTypeError(f"--publish {text}: expected two ports, as 8080:80")
    return int(here), int(there)


def _copy(text: str) -> tuple[Path, str]:
    source, _, target = text.partition(":")
    if not target.startswith("/"):
        raise argparse.ArgumentTypeError(f"--copy {text}: expected FROM:TO with an absolute TO, as ./app:/app")
    if not Path(source).exists():
        raise argparse.ArgumentTypeError(f"--copy {text}: there is no {source}")
    return Path(source), target


def wish_of(parser: argparse.ArgumentParser, args: argparse.Namespace, progress: Callable[[str], None]) -> tuple[Wish, int]:
    """What the user asks for, and the CPUs that a private host offers to tickets. The image is built where it has to be. Ends
    the program where an option has a wrong value."""
    from gridcentric.hypervisors.qemu import images, run

    try:
        memory = _mib("--memory", args.memory, 96, 64 << 10, "96M to 64G, as 256M")  # with less Linux does not come up
        disk = 0 if args.disk is None else _mib("--disk", args.disk, 64, 1 << 20, "64M to 1024G, as 4G")
        publish = tuple(run.Publish(*_ports(p)) for p in args.publish)
        copy = tuple(_copy(c) for c in args.copy)
        if args.init and not args.init.startswith("/"):
            raise argparse.ArgumentTypeError(f"--init {args.init}: expected a path of the image, as /sbin/init")
        if args.cpus < 1:
            raise argparse.ArgumentTypeError(f"--cpus {args.cpus}: expected at least 1")
        tickets = tickets_of_environment()
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    image = images.ensure(args.image, progress)
    images.hold(image)
    on_exit = os.environ.get("GRIDCENTRIC_ON_MASTER_EXIT", "")
    wish = run.Wish(args.command, image, memory, args.cpus, publish, copy, disk, args.init, args.outside, on_exit)
    return wish, tickets


def tickets_of_environment() -> int:
    """CPUs that a private host offers to tickets; 0: the default."""
    text = os.environ.get("GRIDCENTRIC_CPUS") or "0"
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"GRIDCENTRIC_CPUS is '{text}', expected a number of CPUs")
    return int(text)


def host_of_environment(parser: argparse.ArgumentParser) -> str:
    """The socket of a shared host; "": a private one. Ends the program where the variable has a wrong value."""
    host = os.environ.get("GRIDCENTRIC_HOST", "")
    if host and not host.startswith("unix:"):
        parser.error(f"GRIDCENTRIC_HOST is '{host}', expected unix:/path/of/socket")
    return host[5:]


def do_as_told(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    do: Callable[[argparse.ArgumentParser, argparse.Namespace], int],
) -> int:
    """The exit code of do(), which a signal may end. arguments: None: the program's own."""
    have_standard_streams()
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _ended)
    try:
        return do(parser, args)
    except KeyboardInterrupt:
        return 130


def _ended(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
