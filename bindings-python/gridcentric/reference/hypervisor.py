"""What the host asks of a hypervisor, what that reports, and what tests may do with one: the driver contract, as plain Python.

The C++ core has the same as core/include/gridcentric/hypervisor.hpp. Here nothing happens behind the host's back: what a
hypervisor was asked to do, and what happens by itself, it puts into `happened`, in this order; the host takes it out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol, Union


@dataclass(frozen=True)
class Reserved:
    """There is room for this many VMs of a request."""

    call: int
    vms: int


@dataclass(frozen=True)
class Cloned:
    """All clones of a cloning are there."""

    call: int


@dataclass(frozen=True)
class NotCloned:
    """Nothing of a cloning is left."""

    call: int
    code: str
    reason: str


@dataclass(frozen=True)
class Ended:
    domain: int
    how: str
    status: int


Happened = Union[Reserved, Cloned, NotCloned, Ended]


class Script(Protocol):
    """What a hypervisor for tests lets a test do with it (docs/protocol.md, "Control")."""

    def set_latency(self, ms: int) -> None:
        """Each cloning from now on takes so long."""

    def script_failure(self, at: int, reason: str) -> None:
        """The next cloning fails at its `at`-th clone (from 1); 0: it finds no room at all."""

    def script_death(self, at: int) -> None:
        """In the next cloning that succeeds this one (from 1) ends right after."""

    def restart(self) -> None:
        """Forget everything but which addresses were given."""

    def reset(self) -> None:
        """As new."""


class Hypervisor(Protocol):
    """It knows domains by their keys; nothing of tickets, families, connections."""

    name: str
    happened: deque[Happened]

    @property
    def script(self) -> Script:
        """Of a hypervisor for tests."""

    def adopt(self, domain: int) -> None:
        """A master: it is there already."""

    def address_of(self, domain: int) -> str: ...

    def reserve(self, call: int, most: int) -> None:
        """Is there room for the VMs of a request? `Reserved` is to follow."""

    def release(self, ticket: str) -> None:
        """A ticket is over, and what is kept for it."""

    def clone(self, call: int, clones: tuple[int, ...]) -> None:
        """Begin to make clones; `Cloned` or `NotCloned` is to follow."""

    def undo(self, call: int) -> None:
        """What was begun is not wanted any more; `NotCloned` is to follow."""

    def joined(self, domain: int) -> None:
        """It said that it ends by itself now."""

    def end(self, domain: int, how: str = ..., status: int = ...) -> None:
        """End it; `Ended` is to follow. Without effect when it has ended already."""

    def next_due(self) -> int | None:
        """When `run_due` has something to do."""

    def run_due(self) -> None: ...
