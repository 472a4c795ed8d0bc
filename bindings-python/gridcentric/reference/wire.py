"""How messages are written (docs/protocol.md, "Lines"): lines, tokens, numbers, reports, names.

Knows no verb but `join`, whose lines may be long, and nothing of what a message means.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .errors import INVALID_ARGUMENT, PROTOCOL, TOO_LARGE, Refused

VERSION = 1
GREETING = f"gridcentric/{VERSION}"
MAX_LINE = 4096  # bytes with the newline
MAX_JOIN_LINE = 1_400_000
MAX_NAME = 64  # bytes

_JOIN = re.compile(rb"[0-9]{1,9} join ")
_ID = re.compile(rb"(0|[1-9][0-9]{0,8})(?: |$)")
_NOT_IN_TOKENS = re.compile(r"[\x00-\x1f\x7f]")
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_PERCENT = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")


class Lines:
    """Cuts what arrives into lines, and holds no more of it than the longest line allowed and one read."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # this many bytes hold no newline

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> bytes | None:
        """The next line without its newline; None: not all of it is there yet. Refused when it is too long."""
        end = self._buffer.find(b"\n", self._searched)
        length = end + 1 if end >= 0 else len(self._buffer)
        limit = MAX_JOIN_LINE if _JOIN.match(self._buffer) else MAX_LINE
        if length > limit:
            raise Refused(TOO_LARGE, f"a line of more than {limit} bytes: only join may have up to {MAX_JOIN_LINE}")
        if end < 0:
            self._searched = length
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[:length]
        self._searched = 0
        return line


def read_id(line: bytes) -> str | None:
    """The ID a line begins with, if it can be read."""
    match = _ID.match(line)
    return match.group(1).decode("ascii") if match else None


def read_text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(PROTOCOL, f"byte {error.start} of the line is not UTF-8") from None


def read_tokens(text: str) -> list[str]:
    tokens = text.split(" ")
    if "" in tokens:
        raise Refused(PROTOCOL, "tokens must be separated by exactly one space")
    if _NOT_IN_TOKENS.search(text):
        raise Refused(PROTOCOL, "the line holds a control character; a line ends with a newline alone")
    return tokens


def read_number(name: str, text: str) -> int:
    """A decimal int64 without a sign of plus or leading zeros."""
    if not _NUMBER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise Refused(INVALID_ARGUMENT, f"{name} is '{text[:64]}', it must be a decimal number of 64 bits")
    return int(text)


def read_report(text: str) -> bytes | None:
    """Base64 with padding; "=" is the empty report, "-" none."""
    if text == "-":
        return None
    if text == "=":
        return b""
    if not _BASE64.fullmatch(text):
        raise Refused(INVALID_ARGUMENT, f"the report '{text[:16]}...' is not base64 with padding, '=' (empty) or '-' (none)")
    return base64.b64decode(text)


def write_report(report: bytes | None) -> str:
    if report is None:
        return "-"
    return base64.b64encode(report).decode("ascii") or "="


def read_name(key: str, text: str, limit: int | None = None) -> bytes:
    """Percent-encoded text."""
    if not _PERCENT.fullmatch(text):
        raise Refused(INVALID_ARGUMENT, f"{key} is '{text[:64]}', it must be percent-encoded: %XX with two hex digits")
    name = unquote_to_bytes(text)
    if limit is not None and len(name) > limit:
        raise Refused(INVALID_ARGUMENT, f"{key} has {len(name)} bytes, at most {limit} are kept")
    return name


def read_utf8(key: str, text: str) -> str:
    """Percent-encoded UTF-8."""
    try:
        return read_name(key, text).decode()
    except UnicodeDecodeError:
        raise Refused(INVALID_ARGUMENT, f"{key} is not UTF-8") from None


def write_name(name: bytes) -> str:
    """Percent-encoded; "-" when there is none."""
    encoded = quote_from_bytes(name, safe="")
    return {"": "-", "-": "%2D"}.get(encoded, encoded)
