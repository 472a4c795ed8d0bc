"""What gc becomes for `gc run --hypervisor qemu`, `gc host --hypervisor qemu`, `gc host --gc` and `gc image`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from gridcentric import NotSupported
from gridcentric._advice import install
from gridcentric.hypervisors.qemu.user_messages import have_standard_streams, tell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gc", description="Programs in VMs that can be cloned.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser(
        "run", help="run a program in its own VM", description="Run a program in its own VM, as the master of a family."
    )
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
    host = verbs.add_parser("host", help="run a host of machines that programs share")
    host.add_argument("--socket", required=True, metavar="PATH", help="where to listen")
    host.add_argument("--cpus", type=int, default=0, metavar="N", help="CPUs to offer to tickets; default: 64 a core")
    host.add_argument("--outside", action="store_true", help="its VMs reach what this machine reaches, but not its loopback")
    verbs.add_parser("gc", help="remove what killed hosts and builds have left, and say what that was")
    image = verbs.add_parser("image", help="build, list and remove images")
    actions = image.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="build an image")
    build.add_argument("--name", default="default", metavar="NAME", help="default: %(default)s")
    build.add_argument(
        "--from",
        dest="made_from",
        default="debian",
        metavar="debian|DIR|TAR",
        help="Debian, or Debian with these files over it",
    )
    build.add_argument("--packages", nargs="*", default=[], metavar="PACKAGE", help="Debian packages besides Node and Python")
    actions.add_parser("ls", help="list the images, and the bases they are made on")
    remove = actions.add_parser("rm", help="remove an image, and its base when no other image is made on it")
    what = remove.add_mutually_exclusive_group(required=True)
    what.add_argument("name", nargs="?", metavar="NAME")
    what.add_argument("--bases", action="store_true", help="all bases: the next build takes Debian's packages of its day")
    return parser


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


def _ended(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    from gridcentric.hypervisors.qemu import images, machine, run, shared_host

    machine.accelerator()  # no QEMU: said before anything that takes long
    try:
        memory = _mib("--memory", args.memory, 96, 64 << 10, "96M to 64G, as 256M")  # with less Linux does not come up
        disk = 0 if args.disk is None else _mib("--disk", args.disk, 64, 1 << 20, "64M to 1024G, as 4G")
        publish = tuple(run.Publish(*_ports(p)) for p in args.publish)
        copy = tuple(_copy(c) for c in args.copy)
        if args.init and not args.init.startswith("/"):
            raise argparse.ArgumentTypeError(f"--init {args.init}: expected a path of the image, as /sbin/init")
        if args.cpus < 1:
            raise argparse.ArgumentTypeError(f"--cpus {args.cpus}: expected at least 1")
        tickets = _tickets()
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    image = images.ensure(args.image, tell)
    images.hold(image)
    on_exit = os.environ.get("GRIDCENTRIC_ON_MASTER_EXIT", "")
    wish = run.Wish(args.command, image, memory, args.cpus, publish, copy, disk, args.init, args.outside, on_exit)
    host = os.environ.get("GRIDCENTRIC_HOST", "")
    if not host:
        return run.run(wish, tickets, tell)
    if not host.startswith("unix:"):
        parser.error(f"GRIDCENTRIC_HOST is '{host}', expected unix:/path/of/socket")
    return shared_host.ask(host[5:], wish, tell)


def _tickets() -> int:
    """CPUs that a private host offers to tickets; 0: the default."""
    text = os.environ.get("GRIDCENTRIC_CPUS") or "0"
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"GRIDCENTRIC_CPUS is '{text}', expected a number of CPUs")
    return int(text)


def _image(args: argparse.Namespace) -> None:
    from gridcentric.hypervisors.qemu import bases, images

    if args.action == "build":
        images.build(args.name, args.made_from, tuple(args.packages), tell)
    elif args.action == "rm" and args.bases:
        for base in images.remove_bases(tell):
            print(f"removed {base.folder}")
    elif args.action == "rm":
        images.remove(args.name, tell)
    else:
        for image in images.images():
            packages = " ".join(image.packages)
            print(f"{image.name:16} {image.digest} {image.size >> 20:5} MiB  from {image.made_from}: {packages}")
        for base in bases.bases():
            print(f"{'(base)':16} {base.digest} {base.size >> 20:5} MiB  {bases.SUITE}: {' '.join(base.packages)}")


def _collect_garbage() -> None:
    from gridcentric.hypervisors.qemu import images, leftovers

    for path in (*leftovers.remove_hosts(), *images.remove_leftovers()):
        print(f"removed {path}")


def _do(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.verb == "gc":  # without what VMs need: they may have been there before it was removed
        _collect_garbage()
        return 0
    try:
        from gridcentric.hypervisors.qemu import shared_host
    except ImportError as error:
        tell(f"the qemu hypervisor needs the Python package {error.name}: {install('qemu')}")
        return NotSupported.exit_code
    try:
        if args.verb == "run":
            return _run(parser, args)
        if args.verb == "host":
            shared_host.serve(args.socket, args.cpus, args.outside)
        else:
            _image(args)
    except shared_host.TROUBLES as error:
        tell(str(error))
        return shared_host.exit_code(error)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    have_standard_streams()
    parser = _parser()
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _ended)
    try:
        return _do(parser, args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
