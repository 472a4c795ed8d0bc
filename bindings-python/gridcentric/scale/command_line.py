"""The command line of `gc scale`: which settings it gives.

core/cli/verbs.cpp lists the options again, for help and completion."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from gridcentric.scale.settings import Wrong

OPTIONS = (
    "listen", "app", "protocol", "by", "per-clone", "target", "min", "max", "cooldown", "drain", "drain-limit", "admin", "logs",
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Wrong(message)


def read(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The file, or "", and the settings that are given by name. Raises Wrong."""
    own, command = list(words), []
    if "--" in own:
        at = own.index("--")
        own, command = own[:at], own[at + 1 :]
        if not command:
            raise Wrong("there is no program after --")
    parser = _Parser(prog="gc scale", add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    for option in OPTIONS:
        parser.add_argument(f"--{option}", dest=option.replace("-", "_"), default=argparse.SUPPRESS)
    parser.add_argument("file", nargs="?", default="")
    given = vars(parser.parse_args(own))
    file: str = given.pop("file")
    if command:
        given["command"] = command
    if not file and not command:
        raise Wrong("expected a file with settings, or the program after --: gc scale --listen 8080 --app 8081 "
                    "--per-clone 50 -- redis-server --port 8081")  # fmt: skip
    return file, given
