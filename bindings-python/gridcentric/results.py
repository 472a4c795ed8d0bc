"""What the calls return. Plain named tuples: they compare, print, unpack and pickle."""

from __future__ import annotations

from typing import NamedTuple, Optional

__all__ = ["Domain", "Explanation", "Result", "TicketInfo"]


class TicketInfo(NamedTuple):
    """A reservation of CPUs for clones."""

    id: str  #: UUID of 36 lower-case characters
    status: str  #: "pending", "reserved", "cloning", "active" or "closed"
    cpus: int  #: CPUs reserved
    vms: int  #: clones that clone() makes, or has made
    mincpuspervm: int  #: CPUs of each clone


class Domain(NamedTuple):
    """One living machine of the family."""

    vmid: int  #: 0: the master
    parent: Optional[int]  #: vmid of the domain that cloned it; None for the master
    ip: str  #: its address, numeric
    ticket: str  #: the ticket it was born of
    state: str  #: "starting", "running" or "ending"


class Result(NamedTuple):
    """How a clone ended."""

    vmid: int
    how: str  #: "joined", "exited", "killed" or "lost"
    status: int  #: its exit code ("exited"), its signal ("killed"), else 0
    report: Optional[bytes]  #: what it handed to join(); None: it ended without a report


class Explanation(NamedTuple):
    """Whether this process can be cloned here."""

    can_clone: bool
    report: str  #: one line a finding
