"""The line of requests, as the hypervisor answers for its head: granted, refused or not yet."""

from __future__ import annotations

from .books import Books
from .calls import Answered
from .errors import NOT_SUPPORTED, TIMED_OUT
from .registry import RESERVED


class Line(Books):
    """The books of a host, with what becomes of the request that the hypervisor was asked about."""

    def reserved(self, call: int, vms: int) -> None:
        """The hypervisor has room for this many VMs of the request, and keeps it: the ticket is granted."""
        ticket = self._take_asked(call)
        if ticket is not None:
            ticket.status, ticket.cpus = RESERVED, self.ledger.grant(ticket.id, vms)
            self._answer(Answered(call, ticket=ticket.id))
            self._serve_line()

    def reservation_refused(self, call: int, reason: str) -> None:
        """The hypervisor never has room for this request."""
        ticket = self._take_asked(call)
        if ticket is not None:
            self._refuse(call, NOT_SUPPORTED, reason)
            self._release(ticket)
            self._serve_line()

    def reserve_later(self, call: int, reason: str) -> None:
        """The hypervisor has no room yet: the request stays the head of the line, unless it wanted to try once."""
        ticket = self._take_asked(call)
        if ticket is None:
            return
        self._put_off = ticket
        if not self._freed and ticket.tries_once:
            self._refuse(call, TIMED_OUT, f"{reason}: wait longer or ask for less")
            self._release(ticket)
        self._serve_line()

    def ask_again(self) -> None:
        """The hypervisor may have room now for what it had none for."""
        self._freed = True
        self._serve_line()
