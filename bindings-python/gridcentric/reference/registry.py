"""The records: families, their domains and their tickets, and what can be found by which name.

Holds the records and keeps them consistent; decides nothing about what a call may do (rules.py does).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable

from .barrier import Barrier
from .ledger import Want

MAX_CLOSED = 1000
"""That many closed tickets of a family are remembered; the one that closed first is forgotten first."""

MAX_REPORTS = 128 << 20
"""Bytes of the reports that the tickets of a family hold."""

PENDING, RESERVED, CLONING, ACTIVE, CLOSED = "pending", "reserved", "cloning", "active", "closed"
STARTING, RUNNING, ENDING = "starting", "running", "ending"
JOINED, EXITED, KILLED, LOST = "joined", "exited", "killed", "lost"


@dataclass(frozen=True)
class Result:
    """How a clone ended. `status`: exit code if exited, signal number if killed, else 0."""

    vmid: int
    how: str
    status: int
    report: bytes | None = None


@dataclass(eq=False)
class Ticket:
    """pending (in line) -> reserved (holds CPUs) -> cloning -> active (has clones) -> closed (they have all ended).

    A cloning that fails goes back to reserved. A request that was not granted, and a released ticket, are forgotten.
    """

    id: str
    family: Family
    owner: Domain
    want: Want
    status: str = PENDING
    cpus: int = 0
    request: int = 0  # the call that waits while it is pending
    tries_once: bool = False  # and would rather have a refusal than wait
    clones: list[Domain] = field(default_factory=list)
    alive: set[int] = field(default_factory=set)  # vmids of its clones that have not ended
    results: dict[int, Result] = field(default_factory=dict)  # by vmid, of those that have
    barrier: Barrier = field(default_factory=lambda: Barrier(()))  # of its owner and its clones, by key
    waiters: dict[int, None] = field(default_factory=dict)  # open `wait` calls
    report_bytes: int = 0  # of the reports that its clones have joined with
    unwanted: bool = False  # its owner has ended or took the cloning back: forget it as soon as nothing holds it

    @property
    def vms(self) -> int:
        return self.cpus // self.want.mincpuspervm

    @property
    def is_masters_own(self) -> bool:
        """The ticket a master is born with: active, of one VM, holding no CPU of the ledger."""
        return self.owner.ticket is self

    def take_clones(self, clones: list[Domain]) -> None:
        self.clones, self.alive = clones, {clone.vmid for clone in clones}

    def drop_clones(self) -> None:
        self.clones, self.alive = [], set()


@dataclass(eq=False)
class Domain:
    """A master (vmid 0) or a clone. `key` names it on this host, `vmid` in its family; neither is ever reused."""

    key: int
    family: Family
    vmid: int
    parent: int | None  # vmid
    born_ms: int
    ticket: Ticket = field(init=False)  # the one it was made with
    state: str = RUNNING
    name: bytes = b""  # of its program
    report: bytes | None = None
    joined: bool = False
    cloning: Ticket | None = None  # what it is being cloned with
    calls: dict[int, None] = field(default_factory=dict)  # its open calls
    tickets: dict[str, Ticket] = field(default_factory=dict)  # those it owns

    @property
    def is_master(self) -> bool:
        return self.vmid == 0


@dataclass(eq=False)
class Family:
    """A master and all that descends from it."""

    id: str
    on_exit: str = ""  # "end", "keep", or "": what `bye` decides
    said_bye: bool = False
    is_over: bool = False  # all its domains are being ended, and those that come yet will be
    next_vmid: int = 1
    domains: dict[int, Domain] = field(default_factory=dict)  # those that have not ended, by vmid, ascending
    tickets: dict[str, Ticket] = field(default_factory=dict)  # in the order of request
    closed: OrderedDict[str, None] = field(default_factory=OrderedDict)  # in the order of closing

    @property
    def report_bytes(self) -> int:
        """What the reports that its tickets hold take."""
        return sum(ticket.report_bytes for ticket in self.tickets.values())


class Registry:
    """All families, and every domain and ticket by its name."""

    def __init__(self, new_uuid: Callable[[], str]) -> None:
        self._new_uuid = new_uuid
        self._next_key = 1
        self.families: dict[str, Family] = {}  # in the order of birth
        self.domains: dict[int, Domain] = {}  # by key
        self.tickets: dict[str, Ticket] = {}

    def found_family(self, now: int) -> Domain:
        """A new family: its master, with the master's own ticket."""
        family = Family(self._new_uuid())
        self.families[family.id] = family
        master = self._add_domain(family, 0, None, now)
        master.ticket = self.add_ticket(master, Want(1, 1, 1))
        master.ticket.status, master.ticket.cpus = ACTIVE, 1
        return master

    def add_ticket(self, owner: Domain, want: Want) -> Ticket:
        ticket = Ticket(self._new_uuid(), owner.family, owner, want)
        for tickets in (self.tickets, owner.family.tickets, owner.tickets):
            tickets[ticket.id] = ticket
        return ticket

    def give_ticket(self, ticket: Ticket, owner: Domain) -> None:
        """It has another owner from now on."""
        del ticket.owner.tickets[ticket.id]
        ticket.owner = owner
        owner.tickets[ticket.id] = ticket

    def add_clones(self, ticket: Ticket, now: int) -> None:
        """The clones of a ticket, still starting. vmids count up in the family and are used up whatever comes of them."""
        clones = []
        for _ in range(ticket.vms):
            clone = self._add_domain(ticket.family, ticket.family.next_vmid, ticket.owner.vmid, now)
            clone.ticket, clone.state = ticket, STARTING
            ticket.family.next_vmid += 1
            clones.append(clone)
        ticket.take_clones(clones)

    def close_ticket(self, ticket: Ticket) -> None:
        """Its last clone has ended."""
        ticket.status = CLOSED
        ticket.drop_clones()
        ticket.family.closed[ticket.id] = None
        if ticket.unwanted:
            self.forget_ticket(ticket)
        elif len(ticket.family.closed) > MAX_CLOSED:
            self.forget_ticket(self.tickets[next(iter(ticket.family.closed))])

    def forget_ticket(self, ticket: Ticket) -> None:
        for tickets in (self.tickets, ticket.family.tickets, ticket.owner.tickets):
            del tickets[ticket.id]
        ticket.family.closed.pop(ticket.id, None)

    def remove_domain(self, domain: Domain) -> None:
        """It is gone. A family is forgotten with its last domain."""
        del self.domains[domain.key], domain.family.domains[domain.vmid]
        if not domain.family.domains:
            del self.families[domain.family.id]

    def find(self, family: str, vmid: int) -> Domain | None:
        """A domain that others may act on: starting ones are not there for them yet."""
        found = self.families.get(family)
        domain = found.domains.get(vmid) if found else None
        return domain if domain and domain.state != STARTING else None

    def all_domains(self) -> Iterator[Domain]:
        """Families in the order of birth, each by vmid."""
        return (domain for family in self.families.values() for domain in family.domains.values())

    def all_tickets(self) -> Iterator[tuple[Family, Ticket]]:
        """Families in the order of birth, each in the order of request."""
        return ((family, ticket) for family in self.families.values() for ticket in family.tickets.values())

    def _add_domain(self, family: Family, vmid: int, parent: int | None, now: int) -> Domain:
        domain = Domain(self._next_key, family, vmid, parent, now)
        self._next_key += 1
        self.domains[domain.key] = family.domains[vmid] = domain
        return domain
