"""What the calls return. Plain named tuples: they compare, print, unpack and pickle."""

from __future__ import annotations

from typing import NamedTuple, Optional

__all__ = ["Domain", "Explanation", "Result", "TicketInfo"]


class TicketInfo(NamedTuple):
    """A reservation of CPUs for clones."""

    id: str  #: UUID of 36 lower-case characters
    status: str  #: "pending", "reserved", "cloning", "active" or "closed"
    cpus: int  #: CPUs reserved
    vms: int  #: clones that clone() will make, or has made
    mincpuspervm: int  #: CPUs of each clone


class Domain(NamedTuple):
    """One living domain of the family."""

    vmid: int  #: 0: the master
    parent: Optional[int]  #: vmid of the domain that cloned it; None for the master
    ip: str  #: numeric address
    ticket: str  #: the ticket that it was made with
    state: str  #: "starting", "running" or "ending"


class Result(NamedTuple):
    """How a clone ended."""

    vmid: int
    how: str  #: "joined", "exited", "killed" or "lost"
    status: int  #: exit code ("exited"), signal number ("killed"), otherwise 0
    report: Optional[bytes]  #: what it passed to join(); None if it ended without a report


class Explanation(NamedTuple):
    """Whether this process can be cloned here."""

    can_clone: bool
    report: str  #: one line per finding
