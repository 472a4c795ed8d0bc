"""What must differ in each clone: one row each, judged by the reports of a family's domains. Pure.

A row fails closed: what a domain did not report, or could not be asked, is a failure. Only what a hypervisor's clones share by
nature does not apply to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional

SKEW_MS = 500  # programs that compare times would notice a clock that is off by more
UNSURE_MS = 5000  # if question and answer are further apart, nothing is known about the clock

PASSED, FAILED, NOT_APPLICABLE = "ok", "FAILED", "not applicable"


class Wrong(Exception):
    """The row fails; the message says why."""


@dataclass
class Said:
    """A family's reports. Times are in ns of the host's clock."""

    before: dict[str, str] = field(default_factory=dict)  # what the master drew before the clone
    domains: list[dict[str, Any]] = field(default_factory=list)  # the master first
    asked: int = 0  # when the domains were asked for their clocks
    clocks: dict[int, tuple[int, int]] = field(default_factory=dict)  # vmid -> its clock, when the report arrived
    repeats: Optional[list[str]] = None  # what explain() reports about random numbers that repeat


Check = Callable[[Said], str]


def _name(vmid: int) -> str:
    return f"clone {vmid}" if vmid else "the master"


def _all_different(values: list[tuple[str, Any]]) -> None:
    known: dict[Any, str] = {}
    for who, value in values:
        if not value and value != 0:
            raise Wrong(f"{who} did not report it")
        if value in known:
            raise Wrong(f"{known[value]} and {who} have the same: {value}")
        known[value] = who


def _drawn(name: str) -> Check:
    def check(said: Said) -> str:
        values = [(_name(domain["seen"]["vmid"]), domain["drawn"].get(name)) for domain in said.domains]
        _all_different([("the master before the clone", said.before.get(name)), *values])
        return f"{len(values) + 1} drawn, all different"

    return check


def _seen(name: str) -> Check:
    def check(said: Said) -> str:
        values = [(_name(domain["seen"]["vmid"]), domain["seen"].get(name)) for domain in said.domains]
        _all_different(values)
        return ", ".join(str(value) for _, value in values[:3]) + (", ..." if len(values) > 3 else "")

    return check


def _libraries(said: Said) -> str:
    if said.repeats is None:
        raise Wrong("the master did not report it")
    if said.repeats:
        raise Wrong("; ".join(said.repeats))
    return "no loaded library's random numbers repeat"


def _seed(said: Said) -> str:
    master, *clones = said.domains
    if master["seed"] is None:
        raise Wrong("the master has none, so there was nothing to inherit")
    for clone in clones:
        if clone["seed"] is not None:
            raise Wrong(f"{_name(clone['seen']['vmid'])} has inherited one")
    return "gone in every clone"


def _connections(said: Said) -> str:
    for domain in said.domains:
        vmid, carries = domain["seen"]["vmid"], domain["carries"]
        if vmid and carries not in (None, f"clone {vmid}"):
            raise Wrong(f"the connection of {_name(vmid)} carried {carries}, expected its own bytes alone")
        if not vmid and carries != "master":
            raise Wrong(f"the master's connection carried {carries}, expected 'master'")
    return "the master's works, every clone's is cut or carries that clone's bytes alone"


def _clock(said: Said) -> str:
    furthest = 0.0
    for domain in said.domains:
        vmid = domain["seen"]["vmid"]
        if vmid not in said.clocks:
            raise Wrong(f"{_name(vmid)} did not report it")
        clock, heard = said.clocks[vmid]
        least, most = (clock - heard) / 1e6, (clock - said.asked) / 1e6
        if most - least > UNSURE_MS:
            raise Wrong(f"the clock of {_name(vmid)} took {most - least:.0f} ms to read")
        if least > SKEW_MS or most < -SKEW_MS:
            raise Wrong(f"the clock of {_name(vmid)} is off by {least:.0f} to {most:.0f} ms")
        furthest = max(furthest, abs(least), abs(most))
    return f"all within {furthest:.0f} ms of the host's"


@dataclass(frozen=True)
class Row:
    name: str
    probe: str  # "python" or "node": who is asked
    check: Check
    machines_only: str = ""  # why it does not apply to processes


_SHARED = "processes share the computer's"

ROWS = (
    Row("kernel generator: getrandom(2)", "python", _drawn("getrandom")),
    Row("kernel generator: /dev/urandom", "python", _drawn("urandom")),
    Row("OpenSSL in Python: ssl.RAND_bytes", "python", _drawn("ssl")),
    Row("Python: random", "python", _drawn("random")),
    Row("Python: uuid.uuid4", "python", _drawn("uuid")),
    Row("Python: secrets", "python", _drawn("secrets")),
    Row("OpenSSL in Node: crypto.randomBytes", "node", _drawn("randomBytes")),
    Row("Node: crypto.randomUUID", "node", _drawn("randomUUID")),
    Row("Node: crypto.getRandomValues", "node", _drawn("getRandomValues")),
    Row("Node: Math.random", "node", _drawn("Math.random")),
    Row("libraries loaded in Python", "python", _libraries),
    Row("libraries loaded in Node", "node", _libraries),
    Row("vmid", "python", _seen("vmid")),
    Row("IP address", "python", _seen("ip")),
    Row("MAC address", "python", _seen("mac"), _SHARED),
    Row("hostname", "python", _seen("hostname"), _SHARED),
    Row("machine-id", "python", _seen("machine-id"), _SHARED),
    Row("boot_id", "python", _seen("boot_id"), _SHARED),
    Row("random-seed file", "python", _seed, _SHARED),
    Row("clock", "python", _clock),
    Row("open connections", "python", _connections),
)


@dataclass(frozen=True)
class Verdict:
    name: str
    result: str
    detail: str


def judge(said: dict[str, Said | str], machines: bool) -> list[Verdict]:
    """All rows. said: for each probe its family's reports, or why there are none; a probe that was omitted on purpose is not
    in it. machines: domains are VMs, not processes."""
    return [_judged(row, said.get(row.probe), machines) for row in ROWS]


def _judged(row: Row, said: Said | str | None, machines: bool) -> Verdict:
    if row.machines_only and not machines:
        return Verdict(row.name, NOT_APPLICABLE, row.machines_only)
    if said is None:
        return Verdict(row.name, NOT_APPLICABLE, f"{row.probe} was omitted")
    if isinstance(said, str):
        return Verdict(row.name, FAILED, f"could not be checked: {said}")
    try:
        return Verdict(row.name, PASSED, row.check(said))
    except Wrong as wrong:
        return Verdict(row.name, FAILED, str(wrong))
    except (KeyError, TypeError, IndexError) as error:
        return Verdict(row.name, FAILED, f"could not be checked: unexpected report ({error!r})")
