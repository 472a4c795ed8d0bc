"""The values that settings take: times, ports, numbers, programs. Each function returns the value or raises ValueError with
what was expected."""

from __future__ import annotations

import re
from typing import Any, Optional

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_TIME = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(ms|s|m|h)")
LONGEST_MS = 2**31 - 1


def time(value: Any) -> int:
    """Milliseconds."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    ms = round(float(match[1]) * _UNITS[match[2]]) if match else -1
    if not 0 <= ms <= LONGEST_MS:
        raise ValueError("a time with its unit, such as '500ms', '30s', '5m' or '2h' (at most 596h)")
    return ms


def time_or_never(value: Any) -> Optional[int]:
    if value is False or value == "never":
        return None
    try:
        return time(value)
    except ValueError as error:
        raise ValueError(f"{error}, or 'never'") from None


def whole(low: int, high: int, value: Any) -> int:
    """On the command line numbers are text."""
    number = int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,10}", value) else value
    if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
        raise ValueError(f"a whole number from {low} to {high}")
    return number


def port(value: Any) -> int:
    return whole(1, 65535, value)


def address(value: Any) -> tuple[Optional[str], int]:
    """A port, or an address to listen on with a port: `127.0.0.1:8080`, `[::1]:8080`."""
    host, colon, number = str(value).rpartition(":")
    try:
        return (host.strip("[]") if colon else None) or None, port(number if colon else value)
    except ValueError:
        raise ValueError("a port, or an address and a port such as '127.0.0.1:8080'") from None


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text that is not empty")
    return value


def command(value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value) or not value[0]:
        raise ValueError("a list of words, the program first: ['redis-server', '--port', '8081']")
    return [str(word) for word in value]


def one_of(words: tuple[str, ...], value: Any) -> str:
    if value not in words:
        *others, last = (repr(word) for word in words)
        raise ValueError(f"{', '.join(others)} or {last}")
    return str(value)


def yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def users(value: Any) -> Any:
    """What `users` of autoscale takes, but functions."""
    named = isinstance(value, dict) and list(value) == ["header"] and isinstance(value["header"], str) and value["header"]
    if value not in ("cookie", "address") and not named:
        raise ValueError("'cookie', 'address' or {header = 'NAME'}")
    return value


def dashboard(value: Any) -> Any:
    """What `dashboard` of autoscale takes, but functions."""
    token = value.get("token") if isinstance(value, dict) and list(value) == ["token"] else None
    if not isinstance(value, bool) and not (isinstance(token, str) and len(token) >= 16):
        raise ValueError("true, false or {token = 'a text of at least 16 characters'}")
    return value


def path(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"/[!-~]*", value):
        raise ValueError("a path of the app, such as '/health'")
    return value


def percent_or_time(value: Any) -> Any:
    """A number of percent, or milliseconds as text; which of them is needed depends on `by`."""
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, str):
        time(value)
        return value
    return whole(1, 100_000, value)
