"""Orders: domains that listen for them, and those that were given and have no answer yet (docs/protocol.md, "Orders").

Whether a ticket may change hands is the rules' business (rules.hand_over).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .errors import CLONE_FAILED, CODES, INVALID_ARGUMENT, NOT_SUPPORTED, Refused
from .registry import ACTIVE, CLOSED
from .wire import read_number, read_utf8

if TYPE_CHECKING:
    from .host import Host


class Listener(Protocol):
    """The conversation of a domain that takes orders (session.Session)."""

    def tell(self, line: str) -> None:
        """A line that answers no request."""


@dataclass
class _Given:
    listener: Listener
    call: int  # its number in the host's open calls, where it is not any more when nobody waits for it
    giver: int  # vmid
    domain: int  # key of the one that is to clone itself
    ticket: str


class Orders:
    """Of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._last = 0
        self._given: dict[int, _Given] = {}
        self._listeners: dict[int, Listener] = {}  # by the key of their domain

    def listen(self, listener: Listener, domain: int) -> None:
        """The domain's own process takes its orders here from now on, instead of where it did before."""
        self._listeners[domain] = listener

    def give(self, call: int, pid: int, giver: int, vmid: int, ticket: str) -> None:
        """Order domain `vmid` of the giver's family to clone itself with a ticket of the giver's, which becomes its own."""
        rules = self._host.rules
        rules.hand_over(giver, ticket, vmid)
        by = self._host.domain(giver)
        domain = by.family.domains[vmid].key
        listener = self._listeners.get(domain)
        if listener is None:
            rules.hand_over(domain, ticket, by.vmid)
            raise Refused(
                NOT_SUPPORTED,
                f"domain {vmid} does not listen for orders: start its program with 'gc run -- COMMAND', or let it call serve() "
                "(Python, Node, Java) or gc_serve() (C), or set GRIDCENTRIC_SERVE=1 for it",
            )
        self._last += 1
        self._given[self._last] = _Given(listener, call, by.vmid, domain, ticket)
        listener.tell(f"order {self._last} clone {ticket} {pid}")

    def carried_out(self, listener: Listener, number: str) -> None:
        order = self._take(listener, number)
        ticket = self._host.rules.registry.tickets.get(order.ticket)
        if ticket and ticket.status not in (ACTIVE, CLOSED):
            text = f"the domain says that it has carried out the order, but has made no clones of ticket {order.ticket}"
            self._refuse(order, Refused(CLONE_FAILED, text))
            return
        living = self._host.rules.registry.domains
        clones = [self._host.describe(clone) for clone in ticket.clones if clone.key in living] if ticket else []
        call = self._host.open_calls.pop(order.call, None)
        if call:
            call.caller.answer(call.id, call.verb, clones, str(len(clones)))

    def declined(self, listener: Listener, number: str, code: str, text: str) -> None:
        reason = read_utf8("the reason", text)
        self._refuse(self._take(listener, number), Refused(code if code in CODES else CLONE_FAILED, reason))

    def end_session(self, session: object) -> None:
        """A connection has closed."""
        for domain in [domain for domain, listener in self._listeners.items() if listener is session]:
            del self._listeners[domain]
        for number, order in list(self._given.items()):
            if order.listener is session:
                del self._given[number]
                text = "the domain ended, or stopped listening for orders, before it had carried out this one"
                self._refuse(order, Refused(CLONE_FAILED, text))

    def _take(self, listener: Listener, number: str) -> _Given:
        order = self._given.get(read_number("the order", number))
        if order is None or order.listener is not listener:
            raise Refused(INVALID_ARGUMENT, f"there is no order {number[:20]} that this connection has not answered")
        del self._given[int(number)]
        return order

    def _refuse(self, order: _Given, refused: Refused) -> None:
        with contextlib.suppress(Refused):  # it has been used, or one of the two has ended
            self._host.rules.hand_over(order.domain, order.ticket, order.giver)
        call = self._host.open_calls.pop(order.call, None)
        if call:
            call.caller.refuse(call.id, call.verb, refused)
