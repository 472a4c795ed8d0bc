"""The implementation of each call: check the arguments, call the client, name the result. gridcentric.guest and gridcentric.aio
are two interfaces to this file: each function takes the Call that they made, which can be cancelled from elsewhere.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Optional, Union

from gridcentric import _after_clone, _arguments, _before_clone, _ids, _native, _paths
from gridcentric.results import Domain, Explanation, Result, TicketInfo

if TYPE_CHECKING:
    import uuid

Ticket = Union[str, "uuid.UUID"]
Report = Union[bytes, bytearray, memoryview, str, None]

# Private hosts are started from this package's own gc, unless the user has chosen another.
if _paths.GC.exists():
    os.environ.setdefault("GRIDCENTRIC_GC", str(_paths.GC))
_native.set_after_clone(_after_clone.run)


def request_ticket(call: _native.Call, maxcpus: int, minvms: int, mincpuspervm: int, timeout: int) -> str:
    return call.request_ticket(
        _arguments.count("maxcpus", maxcpus),
        _arguments.count("minvms", minvms),
        _arguments.count("mincpuspervm", mincpuspervm),
        _arguments.timeout_of(timeout),
    )


def release_ticket(call: _native.Call, ticket: Ticket) -> None:
    call.release_ticket(_arguments.ticket_of(ticket))


def prepare(call: _native.Call, timeout: int) -> int:
    return call.prepare(_arguments.timeout_of(timeout))


def list_tickets(call: _native.Call) -> list[TicketInfo]:
    return [TicketInfo(*fields) for fields in call.list_tickets()]


def ticket_info(call: _native.Call, ticket: Ticket) -> TicketInfo:
    return TicketInfo(*call.ticket_info(_arguments.ticket_of(ticket)))


def clone(call: _native.Call, ticket: Ticket) -> int:
    """Called after the handlers of before_clone()."""
    name = _arguments.ticket_of(ticket)
    _ids.prepare()
    _before_clone.flush_logging()
    _before_clone.flush_streams()
    return call.clone(name)


def clone_of(call: _native.Call, vmid: int, ticket: Ticket) -> list[Domain]:
    return [Domain(*fields) for fields in call.clone_of(_arguments.vmid_of(vmid), _arguments.ticket_of(ticket))]


def serve(call: _native.Call) -> None:
    call.serve()


def list_domains(call: _native.Call) -> list[Domain]:
    return [Domain(*fields) for fields in call.list_domains()]


def sync(call: _native.Call, ticket: Optional[Ticket], timeout: int) -> None:
    call.sync(None if ticket is None else _arguments.ticket_of(ticket), _arguments.timeout_of(timeout))


def wait(call: _native.Call, ticket: Ticket, timeout: int, forget: bool) -> list[Result]:
    name, limit = _arguments.ticket_of(ticket), _arguments.timeout_of(timeout)
    return [Result(*fields) for fields in call.wait(name, limit, bool(forget))]


def kill(call: _native.Call, vmid: int) -> None:
    call.kill(_arguments.count("vmid", vmid))


def explain() -> Explanation:
    return Explanation(*_ids.explained(*_native.explain()))


def join(call: _native.Call, report: Report) -> None:
    data = _arguments.report_of(report)
    _before_clone.flush_streams()  # the process ends without exit handlers
    call.join(data)
