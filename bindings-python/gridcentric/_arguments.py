"""Checks arguments for what only Python makes possible and the host never sees: types, huge numbers, NaN.

It does not know what a number means: the host judges that.
"""

from __future__ import annotations

import operator
import re
import sys
from typing import Optional

from gridcentric._native import InvalidArgument

__all__ = ["WrongArgumentType", "count", "handler_of", "report_of", "ticket_of", "timeout_of", "vmid_of"]

LARGEST_INT = 2**31 - 1
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class WrongArgumentType(InvalidArgument, TypeError):
    """An argument of the wrong type: an InvalidArgument that is also a TypeError."""

    __module__ = "gridcentric"


def _shown(value: object) -> str:
    """The value as shown in an error: short, whatever it is (repr is slow for an int of a million digits)."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:
        text = f"an object of {type(value).__qualname__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _integer(name: str, value: object, smallest: int, expected: str) -> int:
    wrong_type = f"{name} must be {expected}, not {_shown(value)} ({type(value).__qualname__})"
    if isinstance(value, bool):  # an int in Python, but never meant as a number
        raise WrongArgumentType(wrong_type)
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # accepts numpy's ints, rejects floats
    except TypeError:
        raise WrongArgumentType(wrong_type) from None
    if not smallest <= number <= LARGEST_INT:
        raise InvalidArgument(f"{name} must be {expected}, not {_shown(number)}")
    return number


def count(name: str, value: object) -> int:
    """A number of CPUs or clones, or a vmid: 1 to 2147483647."""
    return _integer(name, value, 1, f"an int from 1 to {LARGEST_INT}")


def vmid_of(value: object) -> int:
    """A vmid that may be the master's: 0 to 2147483647."""
    return _integer("vmid", value, 0, f"an int from 0 to {LARGEST_INT}")


def timeout_of(value: object) -> int:
    """Milliseconds: 0 tries once, a negative number waits forever."""
    return _integer(
        "timeout",
        value,
        -LARGEST_INT - 1,
        f"an int of milliseconds from {-LARGEST_INT - 1} to {LARGEST_INT} (0: try once, negative: wait forever)",
    )


def ticket_of(value: object) -> str:
    """A ticket in the protocol's form: the text of a UUID in lower case. Also accepts a uuid.UUID."""
    uuid = sys.modules.get("uuid")  # slow to import, and whoever has a UUID has imported it
    if uuid is not None and isinstance(value, uuid.UUID):
        return str(value)
    expected = "ticket must be what request_ticket() returned (the text of a UUID in lower case, or a uuid.UUID)"
    if not isinstance(value, str):
        raise WrongArgumentType(f"{expected}, not {_shown(value)} ({type(value).__qualname__})")
    if not _UUID.fullmatch(value):
        raise InvalidArgument(f"{expected}, not {_shown(value)}")
    return value


def report_of(value: object) -> Optional[bytes]:
    """A report: bytes, or text that is encoded as UTF-8; None means no report. The core checks its size."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"report must be text that UTF-8 can hold, not {_shown(value)}: {error}") from None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise WrongArgumentType(f"report must be bytes, str or None, not {_shown(value)} ({type(value).__qualname__})")


def handler_of(value: object, takes: str) -> None:
    """A handler: any callable."""
    if not callable(value):
        raise WrongArgumentType(
            f"handler must be a function that takes {takes}, not {_shown(value)} ({type(value).__qualname__})"
        )
