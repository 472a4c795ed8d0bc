"""The calls of gridcentric.guest as coroutines, with the same names, arguments, results and errors.

    from gridcentric import aio

    async def scale() -> None:
        ticket = await aio.request_ticket(4, 4, 1, 1000)
        if await aio.clone(ticket):         # the event loop keeps running in the master and in each clone
            ...

Each open call waits in its own thread, so that any number of them leaves the loop's executor free. Cancelling the task cancels
the call on the host before CancelledError is raised; a ticket granted meanwhile is released. Clones that already existed when
their task was cancelled stay; the task is cancelled in them too, because they share its past.
Works on any event loop with call_soon_threadsafe(), including uvloop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Callable, Optional, TypeVar

from gridcentric import _arguments, _before_clone, _calls, _native
from gridcentric._calls import Report, Ticket
from gridcentric.guest import before_clone, on_clone
from gridcentric.results import Domain, Explanation, Result, TicketInfo

__all__ = [
    "Domain", "Explanation", "Result", "TicketInfo",
    "before_clone", "clone", "clone_of", "explain", "ismaster", "join", "kill", "list_domains", "list_tickets", "my_ip",
    "on_clone", "prepare", "release_ticket", "request_ticket", "serve", "sync", "ticket_info", "vmid", "wait",
]  # fmt: skip

T = TypeVar("T")

# Each turn of a loop polls everything that is ready, and the end of a connection always is: the first turn reads it, and the
# next ones close the connection, including TLS and whatever is built on it.
_TURNS = 16
_LOOK_S = 0.25  # how often the thread of an order looks whether its event loop still exists


async def _run(work: Callable[[_native.Call], T], undo: Optional[Callable[[_native.Call, T], None]] = None) -> T:
    """Run work(call) in a thread and wait for it. If the task is cancelled, cancel the call but still wait for the thread;
    undo(call, result) reverts a call that had succeeded by then.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()
    call = _native.Call()

    def post(settle: Callable[..., None], outcome: object) -> None:
        try:
            loop.call_soon_threadsafe(settle, outcome)
        except RuntimeError:  # the loop was closed with the call open: nothing waits for it any more
            return

    def wait_in_thread() -> None:
        try:
            result = work(call)
        except BaseException as error:
            post(ended.set_exception, error)
        else:
            post(ended.set_result, result)

    threading.Thread(target=wait_in_thread, name="gridcentric.aio", daemon=True).start()
    cancelled: Optional[asyncio.CancelledError] = None
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError as error:
            call.cancel()
            cancelled = error
    if cancelled is None:
        return ended.result()
    if ended.exception() is None and undo is not None:
        result = ended.result()
        # A second cancellation ends this wait, not the undoing.
        await asyncio.shield(asyncio.ensure_future(_run(lambda again: undo(again, result))))
    raise cancelled


async def _identify() -> None:
    if not _native.identity_known():
        await _run(lambda call: call.identify())


async def request_ticket(maxcpus: int, minvms: int, mincpuspervm: int, timeout: int) -> str:
    """See gridcentric.guest.request_ticket."""
    return await _run(
        lambda call: _calls.request_ticket(call, maxcpus, minvms, mincpuspervm, timeout), undo=_calls.release_ticket
    )


async def release_ticket(ticket: Ticket) -> None:
    """See gridcentric.guest.release_ticket."""
    await _run(lambda call: _calls.release_ticket(call, ticket))


async def prepare(timeout: int = -1) -> int:
    """See gridcentric.guest.prepare."""
    return await _run(lambda call: _calls.prepare(call, timeout))


async def list_tickets() -> list[TicketInfo]:
    """See gridcentric.guest.list_tickets."""
    return await _run(_calls.list_tickets)


async def ticket_info(ticket: Ticket) -> TicketInfo:
    """See gridcentric.guest.ticket_info."""
    return await _run(lambda call: _calls.ticket_info(call, ticket))


async def clone(ticket: Ticket) -> int:
    """See gridcentric.guest.clone. Handlers of before_clone() run in the event loop and may be asynchronous; those of
    on_clone() run in the thread of this call. In a clone it returns after the loop has told the owners of the master's
    connections that these have ended, so that a pool opens a new one for the first request.
    """
    _arguments.ticket_of(ticket)
    await _before_clone.run_and_await()
    vmid = await _run(lambda call: _calls.clone(call, ticket))
    if vmid:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
    return vmid


async def clone_of(vmid: int, ticket: Ticket) -> list[Domain]:
    """See gridcentric.guest.clone_of. Cancelling the task does not cancel an order that has been given."""
    return await _run(lambda call: _calls.clone_of(call, vmid, ticket))


async def serve() -> None:
    """See gridcentric.guest.serve. Orders are carried out by clone() of this module, in the running event loop."""
    loop = asyncio.get_running_loop()

    def carry_out(ticket: str) -> None:
        cloning = asyncio.run_coroutine_threadsafe(clone(ticket), loop)
        while not concurrent.futures.wait([cloning], _LOOK_S).done:
            if _native.ending() or loop.is_closed():
                raise _native.CloneFailed("the event loop that called aio.serve() has ended")
        cloning.result()

    _native.carry_out_orders_with(carry_out)
    await _run(_calls.serve)


async def vmid() -> int:
    """See gridcentric.guest.vmid."""
    await _identify()
    return _native.vmid()


async def ismaster() -> bool:
    """See gridcentric.guest.ismaster."""
    await _identify()
    return _native.ismaster()


async def my_ip() -> str:
    """See gridcentric.guest.my_ip."""
    await _identify()
    return _native.my_ip()


async def list_domains() -> list[Domain]:
    """See gridcentric.guest.list_domains."""
    return await _run(_calls.list_domains)


async def sync(ticket: Optional[Ticket] = None, timeout: int = -1) -> None:
    """See gridcentric.guest.sync."""
    await _run(lambda call: _calls.sync(call, ticket, timeout))


async def join(report: Report = None) -> None:
    """See gridcentric.guest.join. It ends the process without waiting for other tasks."""
    await _run(lambda call: _calls.join(call, report))


async def wait(ticket: Ticket, timeout: int = -1, *, forget: bool = False) -> list[Result]:
    """See gridcentric.guest.wait."""
    return await _run(lambda call: _calls.wait(call, ticket, timeout, forget))


async def kill(vmid: int) -> None:
    """See gridcentric.guest.kill."""
    await _run(lambda call: _calls.kill(call, vmid))


async def explain() -> Explanation:
    """See gridcentric.guest.explain."""
    return await _run(lambda _: _calls.explain())
