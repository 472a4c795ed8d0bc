"""What gc becomes for `gc run --hypervisor qemu`, `gc host --hypervisor qemu`, `gc host --gc` and `gc image`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gridcentric import NotSupported
from gridcentric._advice import install
from gridcentric.hypervisors.qemu.options import add_options, do_as_told, host_of_environment, wish_of
from gridcentric.hypervisors.qemu.user_messages import tell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gc", description="Programs in VMs that can be cloned.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser(
        "run", help="run a program in its own VM", description="Run a program in its own VM, as the master of a family."
    )
    add_options(run)
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


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    from gridcentric.hypervisors.qemu import machine, run, shared_host

    machine.accelerator()  # no QEMU: said before anything that takes long
    wish, tickets = wish_of(parser, args, tell)
    host = host_of_environment(parser)
    return shared_host.ask(host, wish, tell) if host else run.run(wish, tickets, tell)


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
    return do_as_told(_parser(), arguments, _do)


if __name__ == "__main__":
    sys.exit(main())
