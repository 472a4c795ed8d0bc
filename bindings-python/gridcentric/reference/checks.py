"""The ranges of arguments: each check raises Refused with what was given and what was expected."""

from __future__ import annotations

import re

from .errors import INVALID_ARGUMENT, Refused

MAX_INT = 2**31 - 1
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Refused(INVALID_ARGUMENT, f"{name} is {value}, it must be a number from {low} to {high}")


def check_timeout(value: int) -> None:
    if not -MAX_INT - 1 <= value <= MAX_INT:
        raise Refused(
            INVALID_ARGUMENT,
            f"timeout is {value}, it must be milliseconds up to {MAX_INT}; 0 tries once, a negative one waits for ever",
        )


def check_uuid(name: str, value: str) -> None:
    """36 characters, lower case."""
    if not _UUID.fullmatch(value):
        raise Refused(INVALID_ARGUMENT, f"{name} is '{value[:64]}', it must be a UUID of 36 characters in lower case")
