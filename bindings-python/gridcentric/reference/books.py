"""The books of a host, and what every rule does with them: who is asking, whose ticket it is, opening and closing calls.

What a call means is not known here: rules.py.
"""

from __future__ import annotations

from collections import deque
from typing import Callable

from .calls import Answered, Call, CallRefused, Deadlines, EndDomain, Event, Release, Reserve
from .checks import check_uuid
from .errors import BARRIER_BROKEN, INVALID_ARGUMENT, NO_SUCH_DOMAIN, NO_SUCH_TICKET, NOT_YOUR_TICKET, Refused
from .ledger import Ledger
from .registry import (
    ACTIVE,
    CLOSED,
    MAX_CLOSED,
    MAX_REPORTS,
    PENDING,
    RUNNING,
    STARTING,
    Domain,
    Family,
    Registry,
    Ticket,
)


class Books:
    """All families of one host that offers `cpus` CPUs: its ledger, its registry, its open calls."""

    def __init__(
        self, cpus: int, clock: Callable[[], int], new_uuid: Callable[[], str], most_reports: int = MAX_REPORTS
    ) -> None:
        self._clock = clock
        self.most_reports = most_reports
        self._deadlines = Deadlines()
        self.ledger: Ledger[str] = Ledger(cpus)  # CPUs are held by tickets
        self.registry = Registry(new_uuid)
        self.calls: dict[int, Call] = {}  # those that are open, in the order of asking
        self.events: deque[Event] = deque()
        self._clonings: dict[int, Ticket] = {}  # by call, until the hypervisor is done
        self._asked: Ticket | None = None  # the head of the line, while the hypervisor has not said whether it has room
        self._put_off: Ticket | None = None  # the head, when the hypervisor has had no room: it is told when that leaves
        self._freed = False  # something has become free since the hypervisor was asked

    def _caller(self, key: int) -> Domain:
        """A domain that has joined, or is gone, may not call."""
        domain = self.registry.domains.get(key)
        if domain is None or domain.state != RUNNING:
            raise Refused(INVALID_ARGUMENT, "this domain has joined or ended: it can make no more calls")
        return domain

    def _ticket(self, ticket_id: str) -> Ticket:
        check_uuid("ticket", ticket_id)
        if ticket_id not in self.registry.tickets:
            raise Refused(
                NO_SUCH_TICKET,
                f"there is no ticket {ticket_id}, or not any more: of a family the last {MAX_CLOSED} closed ones are kept, "
                f"with at most {self.most_reports} bytes of reports; list_tickets shows those there are",
            )
        return self.registry.tickets[ticket_id]

    def _own_ticket(self, domain: Domain, ticket_id: str) -> Ticket:
        """A ticket is used by the domain that asked for it only."""
        ticket = self._ticket(ticket_id)
        if ticket.owner is not domain:
            whose = f"vmid {ticket.owner.vmid}" if ticket.family is domain.family else "another family"
            raise Refused(NOT_YOUR_TICKET, f"ticket {ticket_id} belongs to {whose}: only who asked for it can use it")
        return ticket

    def _check_has_clones(self, ticket: Ticket) -> None:
        if ticket.is_masters_own or ticket.status not in (ACTIVE, CLOSED):
            what = "the master's own" if ticket.is_masters_own else ticket.status
            raise Refused(INVALID_ARGUMENT, f"ticket {ticket.id} is {what} and has no clones: clone with a ticket first")

    def _found(self, family: str, vmid: int) -> Domain:
        domain = self.registry.find(family, vmid)
        if domain is None:
            raise Refused(NO_SUCH_DOMAIN, f"family {family} has no vmid {vmid}, or it has ended already")
        return domain

    def _end_family(self, family: Family) -> None:
        family.is_over = True
        self._end_domains(list(family.domains.values()))

    def _end_domains(self, domains: list[Domain]) -> None:
        self.events.extend(EndDomain(domain.key) for domain in domains if domain.state != STARTING)

    def _release(self, ticket: Ticket) -> None:
        """The ticket is gone and holds nothing any more. The line is to be served afterwards."""
        if ticket.status != PENDING:
            self._give_back(ticket)
        else:
            self.ledger.leave(ticket.id)
            if ticket in (self._asked, self._put_off):
                self._asked = self._put_off = None
                self._freed = True
                self.events.append(Release(ticket.id))
        self.registry.forget_ticket(ticket)

    def _give_back(self, ticket: Ticket) -> None:
        """Its CPUs are free, and its room in the hypervisor."""
        self.ledger.give_back(ticket.id)
        self._freed = True
        self.events.append(Release(ticket.id))

    def _serve_line(self) -> None:
        """The hypervisor is asked about the head of the line, as soon as there are CPUs for it; about one at a time."""
        offer = self.ledger.offer()
        if self._asked is not None or offer is None:
            return
        ticket = self.registry.tickets[offer[0]]
        if ticket is not self._put_off or self._freed:
            self._asked, self._freed, want = ticket, False, ticket.want
            self.events.append(Reserve(ticket.request, ticket.owner.key, ticket.id, want.minvms, offer[1], want.mincpuspervm))

    def _take_asked(self, call: int) -> Ticket | None:
        """The ticket that the hypervisor answers about; None when its request has gone meanwhile."""
        ticket = self._asked
        if ticket is None or ticket.request != call:
            return None
        self._asked = self._put_off = None
        return ticket

    def _break_barrier(self, ticket: Ticket, ended: Domain) -> None:
        for call in ticket.barrier.end():
            self._refuse(
                call,
                BARRIER_BROKEN,
                f"vmid {ended.vmid}, a member of the barrier of ticket {ticket.id}, has ended",
            )

    def _answer_waiters(self, ticket: Ticket) -> None:
        results = tuple(ticket.results[vmid] for vmid in sorted(ticket.results))
        for call in list(ticket.waiters):
            del ticket.waiters[call]
            self._answer(Answered(call, results=results))

    def _open(self, call: int, domain: Domain, verb: str, ticket: Ticket) -> None:
        self.calls[call] = Call(call, domain.key, verb, ticket.id)
        domain.calls[call] = None

    def _close(self, call_id: int) -> Call:
        call = self.calls.pop(call_id)
        del self.registry.domains[call.domain].calls[call_id]
        self._deadlines.clear(call_id)
        return call

    def _answer(self, answer: Answered) -> None:
        self._close(answer.call)
        self.events.append(answer)

    def _refuse(self, call: int, code: str, text: str) -> None:
        self._close(call)
        self.events.append(CallRefused(call, code, text))
