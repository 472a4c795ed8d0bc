"""The rules: what every call means, and what happens when a domain ends. This is the heart of the specification.

Calls that are answered at once return their answer or raise Refused. Those that wait (request_ticket, clone, sync, wait) are
given a call id; they raise Refused, or are answered by an event with that id, perhaps at once. `events` is what the world
has to do, in this order; whoever drives the rules takes the events out.

Pure: time comes from `clock` (milliseconds, never going back), UUIDs from `new_uuid`. Timeouts: 0 tries once, negative waits
for ever.
"""

from __future__ import annotations

from .barrier import Barrier
from .calls import CLONE, REQUEST_TICKET, SYNC, WAIT, Answered, Dropped, MakeClones, UndoClones
from .checks import MAX_INT, check_range, check_timeout
from .errors import (
    BARRIER_BROKEN,
    CLONE_FAILED,
    INVALID_ARGUMENT,
    NO_SUCH_DOMAIN,
    NO_SUCH_TICKET,
    NOT_YOUR_TICKET,
    TICKET_USED,
    TIMED_OUT,
    TOO_LARGE,
    Refused,
)
from .ledger import Want
from .line import Line
from .registry import (
    ACTIVE,
    CLONING,
    CLOSED,
    ENDING,
    JOINED,
    LOST,
    PENDING,
    RESERVED,
    RUNNING,
    STARTING,
    Domain,
    Family,
    Result,
    Ticket,
)

MAX_REPORT = 1 << 20
"""Bytes of a report."""


class Rules(Line):
    """All families of one host."""

    # --- tickets -----------------------------------------------------------------------------------------------------

    def request_ticket(self, call: int, caller: int, maxcpus: int, minvms: int, mincpuspervm: int, timeout: int) -> None:
        """Reserve CPUs, or wait in line for them. What can never be granted is refused, not queued."""
        domain = self._caller(caller)
        for name, value in (("maxcpus", maxcpus), ("minvms", minvms), ("mincpuspervm", mincpuspervm)):
            check_range(name, value, 1, MAX_INT)
        check_timeout(timeout)
        want = Want(maxcpus, minvms, mincpuspervm)
        for name, limit in (("maxcpus is", maxcpus), ("this host offers", self.ledger.cpus)):
            if want.least > limit:
                raise Refused(
                    INVALID_ARGUMENT,
                    f"minvms {minvms} * mincpuspervm {mincpuspervm} = {want.least} CPUs, but {name} {limit}: "
                    "such a ticket can never be granted, ask for less",
                )
        ticket = self.registry.add_ticket(domain, want)
        ticket.request, ticket.tries_once = call, timeout == 0
        self._open(call, domain, REQUEST_TICKET, ticket)
        self.ledger.ask(ticket.id, want)
        if len(self.ledger.line) == 1:
            self._serve_line()
        if timeout or self._asked is not ticket:
            self._wait_until(call, timeout)

    def release_ticket(self, caller: int, ticket_id: str) -> None:
        """Give back a ticket that has not been cloned with; the request of a pending one is refused. It is gone then."""
        ticket = self._own_ticket(self._caller(caller), ticket_id)
        if ticket.status not in (PENDING, RESERVED):
            raise Refused(TICKET_USED, f"ticket {ticket_id} is {ticket.status}: only an unused ticket can be released")
        if ticket.status == PENDING:
            self._refuse(ticket.request, NO_SUCH_TICKET, f"ticket {ticket_id} was released while it was waited for")
        self._release(ticket)
        self._serve_line()

    def hand_over(self, caller: int, ticket_id: str, vmid: int) -> None:
        """A ticket that clones can be made with becomes that of another domain of the family, as if that had requested it."""
        domain = self._caller(caller)
        ticket = self._own_ticket(domain, ticket_id)
        self._check_reserved(ticket)
        check_range("vmid", vmid, 0, MAX_INT)
        receiver = domain.family.domains.get(vmid)
        if receiver is None or receiver.state != RUNNING:
            raise Refused(NO_SUCH_DOMAIN, f"family {domain.family.id} has no running vmid {vmid}")
        self.registry.give_ticket(ticket, receiver)

    def forget_ticket(self, caller: int, ticket_id: str) -> None:
        """A closed ticket and its reports: its owner has read them."""
        ticket = self._own_ticket(self._caller(caller), ticket_id)
        if ticket.status != CLOSED:
            raise Refused(INVALID_ARGUMENT, f"ticket {ticket_id} is {ticket.status}: only a closed one can be forgotten")
        self.registry.forget_ticket(ticket)

    def list_tickets(self, caller: int) -> list[Ticket]:
        """The family's tickets in the order of request, the master's own first."""
        return list(self._caller(caller).family.tickets.values())

    def ticket_info(self, caller: int, ticket_id: str) -> Ticket:
        """Any ticket of the family, whoever owns it."""
        domain = self._caller(caller)
        ticket = self._ticket(ticket_id)
        if ticket.family is not domain.family:
            raise Refused(NOT_YOUR_TICKET, f"ticket {ticket_id} belongs to another family")
        return ticket

    # --- cloning -----------------------------------------------------------------------------------------------------

    def clone(self, call: int, caller: int, ticket_id: str) -> None:
        """Make the ticket's clones of the caller, all or none. A ticket clones once, and only its owner."""
        domain = self._caller(caller)
        ticket = self._own_ticket(domain, ticket_id)
        self._check_reserved(ticket)
        if domain.cloning:
            raise Refused(
                CLONE_FAILED,
                f"this domain is being cloned with ticket {domain.cloning.id}: try again when that is done",
            )
        ticket.status, domain.cloning, self._clonings[call] = CLONING, ticket, ticket
        self.registry.add_clones(ticket, self._clock())
        self._open(call, domain, CLONE, ticket)
        self.events.append(MakeClones(call, domain.key, tuple(clone.key for clone in ticket.clones)))

    def _check_reserved(self, ticket: Ticket) -> None:
        if ticket.status == PENDING:
            raise Refused(INVALID_ARGUMENT, f"ticket {ticket.id} is pending: wait until its request is granted")
        if ticket.status != RESERVED:
            raise Refused(TICKET_USED, f"ticket {ticket.id} is {ticket.status}: a ticket clones once, request another")

    def cloned(self, call: int) -> None:
        """All clones of this cloning are there. If nobody wants them any more, or their family is over, they are ended."""
        ticket = self._clonings.pop(call)
        ticket.status, ticket.owner.cloning = ACTIVE, None
        ticket.barrier = Barrier([ticket.owner.key] + [clone.key for clone in ticket.clones])
        for clone in ticket.clones:
            clone.state = RUNNING
        if not ticket.unwanted:
            self._answer(Answered(call))
        if ticket.unwanted or ticket.family.is_over:
            self._end_domains(ticket.clones)

    def clone_failed(self, call: int, code: str, reason: str) -> None:
        """Nothing of this cloning is left: the ticket is reserved again, or released if nobody wants it any more."""
        ticket = self._clonings.pop(call)
        ticket.status, ticket.owner.cloning = RESERVED, None
        for clone in ticket.clones:
            self.registry.remove_domain(clone)
        ticket.drop_clones()
        if ticket.unwanted:
            self._release(ticket)
            self._serve_line()
        else:
            self._refuse(call, code, reason)

    # --- meeting and waiting -----------------------------------------------------------------------------------------

    def sync(self, call: int, caller: int, ticket_id: str, timeout: int) -> None:
        """Meet the ticket's clones and the domain that cloned them. "-" is the ticket that the caller was made with."""
        domain = self._caller(caller)
        check_timeout(timeout)
        if ticket_id == "-" and domain.is_master:
            raise Refused(INVALID_ARGUMENT, "a master was not made with a ticket: name the ticket whose clones it is to meet")
        ticket = domain.ticket if ticket_id == "-" else self._ticket(ticket_id)
        if ticket.owner is not domain and ticket is not domain.ticket:
            raise Refused(
                NOT_YOUR_TICKET,
                f"vmid {domain.vmid} has not cloned with ticket {ticket.id}, nor is it its clone",
            )
        self._check_has_clones(ticket)
        barrier = ticket.barrier
        if barrier.broken:
            raise Refused(BARRIER_BROKEN, f"the barrier of ticket {ticket.id} is broken: a member has ended")
        if domain.key in barrier.waiting:
            raise Refused(INVALID_ARGUMENT, f"vmid {domain.vmid} waits at the barrier of ticket {ticket.id} already")
        self._open(call, domain, SYNC, ticket)
        for passed in barrier.arrive(domain.key, call):
            self._answer(Answered(passed))
        if call in self.calls:
            self._wait_until(call, timeout)

    def wait(self, call: int, caller: int, ticket_id: str, timeout: int) -> None:
        """Wait until all clones of the ticket have ended; answered again as often as asked while it is remembered."""
        domain = self._caller(caller)
        check_timeout(timeout)
        ticket = self._own_ticket(domain, ticket_id)
        self._check_has_clones(ticket)
        self._open(call, domain, WAIT, ticket)
        ticket.waiters[call] = None
        if ticket.status == CLOSED:
            self._answer_waiters(ticket)
        else:
            self._wait_until(call, timeout)

    # --- domains -----------------------------------------------------------------------------------------------------

    def adopt(self, on_exit: str = "", name: bytes = b"") -> int:
        """A program said hello: the key of the master of a new family. `on_exit`: "end", "keep" or ""."""
        master = self.registry.found_family(self._clock())
        master.family.on_exit, master.name = on_exit, name
        return master.key

    def bye(self, domain: int) -> None:
        """A master is about to exit normally: unless told otherwise its clones will outlive it. A clone's says nothing."""
        found = self.registry.domains[domain]
        found.family.said_bye |= found.is_master

    def whoami(self, caller: int) -> Domain:
        return self._caller(caller)

    def list_domains(self, caller: int) -> list[Domain]:
        """The family's living domains by vmid, those that are starting or ending too."""
        return list(self._caller(caller).family.domains.values())

    def join(self, caller: int, report: bytes | None) -> None:
        """A clone ends itself: from now on it is `ending`, and its calls are refused. A master cannot."""
        domain = self._caller(caller)
        if domain.is_master:
            raise Refused(INVALID_ARGUMENT, "a master has nobody to report to: only a clone can join")
        if report is not None and len(report) > MAX_REPORT:
            raise Refused(TOO_LARGE, f"the report has {len(report)} bytes, at most {MAX_REPORT} are carried")
        if not self._has_reader(domain.ticket):
            report = None
        if report is not None:
            self._make_room(domain.family, len(report))
            domain.ticket.report_bytes += len(report)
        domain.state, domain.joined, domain.report = ENDING, True, report

    def _has_reader(self, ticket: Ticket) -> bool:
        """Only a ticket's owner can ask for the reports of its clones."""
        return ticket.owner.key in self.registry.domains

    def _make_room(self, family: Family, size: int) -> None:
        """Closed tickets with reports are forgotten, the one that closed first first, until the family may hold `size` bytes
        more. What clones report whose ticket is not closed yet is kept; if that leaves no room the report is refused."""
        closed = [self.registry.tickets[name] for name in family.closed]
        held = family.report_bytes
        active = held - sum(ticket.report_bytes for ticket in closed)
        if active + size > self.most_reports:
            raise Refused(
                TOO_LARGE,
                f"the report has {size} bytes, and tickets whose clones have not all ended hold {active} of the "
                f"{self.most_reports} that a family may: report the name of a file",
            )
        for ticket in closed:
            if held + size > self.most_reports and ticket.report_bytes:
                held -= ticket.report_bytes
                self.registry.forget_ticket(ticket)

    def kill(self, caller: int, vmid: int) -> None:
        """End a clone of the family, oneself included; never the master."""
        family = self._caller(caller).family
        check_range("vmid", vmid, 1, MAX_INT)
        self._end_domains([self._found(family.id, vmid)])

    def kill_domain(self, family: str, vmid: int) -> None:
        """End a domain from outside; vmid 0: the whole family, also when its master has ended."""
        check_range("vmid", vmid, 0, MAX_INT)
        if vmid == 0 and family in self.registry.families:
            self._end_family(self.registry.families[family])
        else:
            self._end_domains([self._found(family, vmid)])

    def ended(self, key: int, how: str, status: int) -> None:
        """A domain is gone. How it ended is what it said itself if it had joined. Unknown and starting ones are ignored.

        Its open calls get no answer. Its unused tickets are released; its closed ones, and a master's own, are forgotten; a
        cloning of it is undone; its active tickets live on until their clones have ended. It breaks the barriers it is a
        member of. When it was the last clone of its ticket, the ticket closes. A master takes its family along, unless
        it said bye, or `on_exit` says otherwise.
        """
        domain = self.registry.domains.get(key)
        if domain is None or domain.state == STARTING:
            return
        for call in list(domain.calls):
            self._take_back(call)
            self.events.append(Dropped(call))
        self.registry.remove_domain(domain)
        for ticket in list(domain.tickets.values()):
            self._owner_ended(ticket)
        if not domain.is_master:
            if domain.joined:
                how, status = JOINED, 0
            report = domain.report if self._has_reader(domain.ticket) else None
            result = Result(domain.vmid, how, 0 if how == LOST else status, report)
            self._clone_ended(domain.ticket, domain, result)
        elif domain.family.on_exit == "end" or not (domain.family.said_bye or domain.family.on_exit == "keep"):
            self._end_family(domain.family)
        self._serve_line()

    def _owner_ended(self, ticket: Ticket) -> None:
        ticket.unwanted = True
        if ticket.status == RESERVED:
            self._release(ticket)
        elif ticket.status == CLOSED or ticket.is_masters_own:
            self.registry.forget_ticket(ticket)
        elif ticket.status == ACTIVE:
            self._break_barrier(ticket, ticket.owner)
            ticket.report_bytes = 0  # nobody is left to read them

    def _clone_ended(self, ticket: Ticket, clone: Domain, result: Result) -> None:
        ticket.results[clone.vmid] = result
        ticket.alive.remove(clone.vmid)
        self._break_barrier(ticket, clone)
        if not ticket.alive:
            self.registry.close_ticket(ticket)
            self._give_back(ticket)
            self._answer_waiters(ticket)

    # --- time and second thoughts ------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """When `expire` is due."""
        return self._deadlines.next()

    def expire(self) -> None:
        """Refuse the calls whose time has run out, in the order of their times."""
        call = self._deadlines.pop_due(self._clock())
        while call is not None:
            self._time_out(call)
            call = self._deadlines.pop_due(self._clock())

    def _wait_until(self, call: int, timeout: int) -> None:
        if timeout > 0:
            self._deadlines.set(call, self._clock() + timeout)
        elif timeout == 0:
            self._time_out(call)

    def _time_out(self, call_id: int) -> None:
        call = self.calls[call_id]
        ticket = self.registry.tickets[call.ticket]
        if call.verb == SYNC:
            others = ticket.barrier.give_up(call.domain)
            self._refuse(call_id, TIMED_OUT, f"not all members came to the barrier of ticket {ticket.id} in time")
            for other in others:
                self._refuse(other, BARRIER_BROKEN, f"a member gave up waiting at the barrier of ticket {ticket.id}")
        elif call.verb == WAIT:
            del ticket.waiters[call_id]
            self._refuse(
                call_id,
                TIMED_OUT,
                f"clones of ticket {ticket.id} have not ended in time: {len(ticket.alive)}",
            )
        else:
            self._refuse(
                call_id,
                TIMED_OUT,
                f"{ticket.want.least} CPUs were not free in time: {self.ledger.free} of {self.ledger.cpus} are free and "
                f"{len(self.ledger.line)} requests in line; wait longer or ask for less",
            )
            self._release(ticket)
            self._serve_line()

    def cancel(self, *calls: int) -> None:
        """The asker is gone or took the calls back: as if they had never waited. There are no answers; a cloning is
        undone. Several at once leave together, before the line is served: none of them is granted what another frees."""
        for call in calls:
            if call in self.calls:
                self._take_back(call)
        self._serve_line()

    def _take_back(self, call_id: int) -> None:
        call = self._close(call_id)
        ticket = self.registry.tickets[call.ticket]
        if call.verb == REQUEST_TICKET:
            self._release(ticket)
        elif call.verb == CLONE:
            ticket.unwanted = True
            self.events.append(UndoClones(call_id, call.domain))
        elif call.verb == SYNC:
            ticket.barrier.withdraw(call.domain)
        else:
            del ticket.waiters[call_id]
