"""Every argument of every call with every kind of wrong value: the error names it, and no connection is opened."""

from __future__ import annotations

import asyncio
import math
import uuid
from typing import Any

import pytest

from gridcentric import InvalidArgument, WrongArgumentType, aio, guest

T = "8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11"

WRONG_TYPE: list[Any] = [None, True, 1.0, 1.5, math.nan, math.inf, "1", b"1", [1], {}, object(), 1 + 0j, len]
NO_COUNT: list[Any] = [0, -1, 2**31, -(2**31), 2**32 + 1, 2**63, -(2**63) - 1, 2**64, 10**100]
NO_TIMEOUT: list[Any] = [2**31, -(2**31) - 1, 2**63, -(2**63), 2**64 + 1, 10**5000]
NO_TICKET_TYPE: list[Any] = [True, 0, 1.5, math.nan, T.encode(), [T], (T,), object()]
NO_TICKET: list[Any] = [
    "",
    "x",
    T[:-1],
    T + "0",
    T.replace("-", ""),
    "{" + T + "}",
    "g" + T[1:],
    T + "\n",
    T.upper(),
    "\0",
    "é" * 36,
    "a" * 10**6,
]
NO_REPORT: list[Any] = [1, True, 1.5, math.nan, ["x"], object()]

# call, valid arguments, the index of the one made invalid, its name
ARGUMENTS = [
    ("request_ticket", (4, 2, 1, 0), 0, "maxcpus"),
    ("request_ticket", (4, 2, 1, 0), 1, "minvms"),
    ("request_ticket", (4, 2, 1, 0), 2, "mincpuspervm"),
    ("request_ticket", (4, 2, 1, 0), 3, "timeout"),
    ("release_ticket", (T,), 0, "ticket"),
    ("ticket_info", (T,), 0, "ticket"),
    ("clone", (T,), 0, "ticket"),
    ("sync", (T, 0), 0, "ticket"),
    ("sync", (T, 0), 1, "timeout"),
    ("wait", (T, 0), 0, "ticket"),
    ("wait", (T, 0), 1, "timeout"),
    ("kill", (1,), 0, "vmid"),
    ("join", (b"",), 0, "report"),
]


def wrong_values(call: str, name: str) -> list[tuple[Any, type[Exception]]]:
    if name == "ticket":
        types = NO_TICKET_TYPE if call == "sync" else [*NO_TICKET_TYPE, None]  # sync(None): the clone's own ticket
        return [(v, WrongArgumentType) for v in types] + [(v, InvalidArgument) for v in NO_TICKET]
    if name == "report":
        return [(v, WrongArgumentType) for v in NO_REPORT] + [("\ud800", InvalidArgument)]
    values = NO_TIMEOUT if name == "timeout" else NO_COUNT
    return [(v, WrongArgumentType) for v in WRONG_TYPE] + [(v, InvalidArgument) for v in values]


CASES = [
    pytest.param(call, (*right[:at], value, *right[at + 1 :]), name, value, error, id=f"{call}-{name}-{number}")
    for call, right, at, name in ARGUMENTS
    for number, (value, error) in enumerate(wrong_values(call, name))
]


def check(raised: pytest.ExceptionInfo[BaseException], name: str, value: Any, error: type[Exception]) -> None:
    assert raised.type is error
    text = str(raised.value)
    assert text.startswith(f"{name} must be "), text  # the argument and what was expected
    shown = f"an int of {value.bit_length()} bits" if isinstance(value, int) and abs(value) > 2**128 else repr(value)
    assert shown[:70] in text, text  # the value
    assert len(text) < 400


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that passed the checks would raise HostUnreachable."""
    monkeypatch.setenv("GRIDCENTRIC_HOST", "unix:/nonexistent/host.sock")


@pytest.mark.parametrize(("call", "arguments", "name", "value", "error"), CASES)
def test_guest(call: str, arguments: tuple[Any, ...], name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(InvalidArgument) as raised:
        getattr(guest, call)(*arguments)
    check(raised, name, value, error)


@pytest.mark.parametrize(("call", "arguments", "name", "value", "error"), CASES)
def test_aio(call: str, arguments: tuple[Any, ...], name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(InvalidArgument) as raised:
        asyncio.run(getattr(aio, call)(*arguments))
    check(raised, name, value, error)


@pytest.mark.parametrize("module", [guest, aio])
def test_on_clone(module: Any) -> None:
    with pytest.raises(WrongArgumentType, match=r"handler must be a function that takes the vmid, not 5 \(int\)"):
        module.on_clone(5)


def test_what_counts_as_a_number() -> None:
    class Index:
        def __index__(self) -> int:
            return 7

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no text")

    from gridcentric import _arguments

    assert _arguments.count("maxcpus", Index()) == 7  # like numpy's ints
    assert _arguments.timeout_of(-(2**31)) == -(2**31)
    with pytest.raises(WrongArgumentType, match=r"an object of .*Broken"):
        _arguments.count("maxcpus", Broken())


def test_what_counts_as_a_ticket() -> None:
    from gridcentric import _arguments

    assert _arguments.ticket_of(uuid.UUID(T)) == T


def test_what_counts_as_a_report() -> None:
    from gridcentric import _arguments

    assert _arguments.report_of("ü") == "ü".encode()
    assert _arguments.report_of(bytearray(b"a\0")) == b"a\0"
    assert _arguments.report_of(memoryview(b"abcd")[::2]) == b"ac"
    assert _arguments.report_of(b"") == b""
    assert _arguments.report_of(None) is None


@pytest.mark.parametrize("call", sorted({case[0] for case in ARGUMENTS}))
def test_number_of_arguments(call: str) -> None:
    with pytest.raises(TypeError, match="argument"):
        getattr(guest, call)(1, 2, 3, 4, 5, 6)
