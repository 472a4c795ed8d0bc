"""Calls that wait, the times at which they run out, and what the rules tell the world to do.

Knows nothing of what a call means.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Union

from .registry import Result

REQUEST_TICKET, CLONE, SYNC, WAIT = "request_ticket", "clone", "sync", "wait"
WAITING_VERBS = (REQUEST_TICKET, CLONE, SYNC, WAIT)


@dataclass(frozen=True)
class Call:
    """An open call: `id` is chosen by the host, increasing and never reused; `domain` is the caller's key."""

    id: int
    domain: int
    verb: str
    ticket: str


@dataclass(frozen=True)
class Answered:
    """The call is done. `ticket`: of request_ticket. `results`: of wait."""

    call: int
    ticket: str = ""
    results: tuple[Result, ...] = ()


@dataclass(frozen=True)
class CallRefused:
    """The call is done, and was refused."""

    call: int
    code: str
    text: str


@dataclass(frozen=True)
class Dropped:
    """The call is done and gets no answer: its domain has ended."""

    call: int


@dataclass(frozen=True)
class Reserve:
    """Can the hypervisor make `least` to `most` VMs for this ticket of `domain`? One of `reserved`, `reservation_refused` and
    `reserve_later` is to follow."""

    call: int
    domain: int
    ticket: str
    least: int
    most: int
    cpus_per_vm: int


@dataclass(frozen=True)
class Release:
    """The hypervisor need not keep room for this ticket any more, or need not answer any more whether it has."""

    ticket: str


@dataclass(frozen=True)
class MakeClones:
    """The hypervisor is to make these clones of `parent`, all or none; `cloned` or `clone_failed` is to follow."""

    call: int
    parent: int
    clones: tuple[int, ...]


@dataclass(frozen=True)
class UndoClones:
    """The cloning is not wanted any more: what was made is to be ended; `clone_failed` is to follow."""

    call: int
    parent: int


@dataclass(frozen=True)
class EndDomain:
    """The hypervisor is to end this domain (if it is still there); `ended` is to follow."""

    domain: int


Event = Union[Answered, CallRefused, Dropped, Reserve, Release, MakeClones, UndoClones, EndDomain]


class Deadlines:
    """When calls run out. Of those at the same instant, the earlier call is first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._at: dict[int, int] = {}

    def set(self, call: int, at: int) -> None:
        self._at[call] = at
        heapq.heappush(self._heap, (at, call))

    def clear(self, call: int) -> None:
        """The call is done; without a time set for it this does nothing."""
        if self._at.pop(call, None) is not None and len(self._heap) > 2 * len(self._at) + 64:
            self._heap = [(at, call) for call, at in self._at.items()]  # no more stale entries than live ones
            heapq.heapify(self._heap)

    def next(self) -> int | None:
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: int) -> int | None:
        """The first call whose time has come, if any."""
        first = self.next()
        if first is None or first > now:
            return None
        call = heapq.heappop(self._heap)[1]
        del self._at[call]
        return call
