"""The fake hypervisor: domains that exist in memory only, with scripted delays and failures.

The same script gives the same history. It knows domains by their keys; nothing of tickets, families, connections. What
it was asked to do, and what happens by itself, it reports in `happened`, in this order; whoever drives it takes it out.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections import deque
from dataclasses import dataclass
from typing import Callable

from .errors import CLONE_FAILED
from .hypervisor import Cloned, Ended, Happened, Hypervisor, NotCloned, Reserved, Script
from .registry import EXITED, KILLED, LOST


@dataclass(frozen=True)
class _Cloning:
    clones: tuple[int, ...]
    failure: str  # "" when it succeeds
    dies: int  # this one (from 1) ends right after; 0: none


class Fake(Hypervisor, Script):
    """`clock`: the time in ms. Domains take addresses in turn, counting from the one after `address_base`."""

    name = "fake"

    def __init__(self, clock: Callable[[], int], address_base: str) -> None:
        self._clock = clock
        self._base = int(ipaddress.IPv4Address(address_base))
        self.happened: deque[Happened] = deque()
        self.reset()

    def reset(self) -> None:
        """As new: addresses begin anew."""
        self._addresses_given = 0
        self.restart()

    def restart(self) -> None:
        """Forget everything but which addresses were given."""
        self._latency = 0  # ms that a cloning takes
        self._failures: deque[tuple[int, str]] = deque()
        self._deaths: deque[int] = deque()
        self.happened.clear()
        self._living: set[int] = set()
        self._address: dict[int, str] = {}
        self._clonings: dict[int, _Cloning] = {}
        self._due: list[tuple[int, int]] = []  # heap of (when, call); may hold calls that were undone

    @property
    def script(self) -> Script:
        return self

    def set_latency(self, ms: int) -> None:
        self._latency = ms

    def script_failure(self, at: int, reason: str) -> None:
        self._failures.append((at, reason))

    def script_death(self, at: int) -> None:
        self._deaths.append(at)

    def adopt(self, domain: int) -> None:
        """A master: it is there already."""
        self._give_address(domain)
        self._living.add(domain)

    def address_of(self, domain: int) -> str:
        return self._address[domain]

    def reserve(self, call: int, most: int) -> None:
        """Memory alone has room for all that are asked for."""
        self.happened.append(Reserved(call, most))

    def release(self, ticket: str) -> None:
        """Nothing was kept for it."""

    def clone(self, call: int, clones: tuple[int, ...]) -> None:
        """Begin to make clones. Their addresses are taken now; so are the scripted faults, one for each cloning."""
        for clone in clones:
            self._give_address(clone)
        failure, dies = "", 0
        if self._failures:
            at, reason = self._failures.popleft()
            if at <= len(clones):
                failure = f"clone {at} of {len(clones)}: {reason}" if at else reason
        elif self._deaths:
            dies = self._deaths.popleft()
        self._clonings[call] = _Cloning(clones, failure, dies)
        heapq.heappush(self._due, (self._clock() + self._latency, call))

    def undo(self, call: int) -> None:
        """What was begun is not wanted any more."""
        if call in self._clonings:
            self._fail(call, "it was taken back")

    def joined(self, domain: int) -> None:
        """It said that it ends by itself now."""
        self.end(domain, EXITED, 0)

    def end(self, domain: int, how: str = KILLED, status: int = 9) -> None:
        """It ends at once; without effect when it has ended already."""
        if domain in self._living:
            self._living.remove(domain)
            del self._address[domain]
            self.happened.append(Ended(domain, how, status))

    def next_due(self) -> int | None:
        """When `run_due` has something to do."""
        while self._due and self._due[0][1] not in self._clonings:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def run_due(self) -> None:
        """Finish the clonings whose time has come."""
        due = self.next_due()
        while due is not None and due <= self._clock():
            self._finish(heapq.heappop(self._due)[1])
            due = self.next_due()

    def _finish(self, call: int) -> None:
        cloning = self._clonings[call]
        if cloning.failure:
            self._fail(call, cloning.failure)
            return
        del self._clonings[call]
        self._living.update(cloning.clones)
        self.happened.append(Cloned(call))
        if 0 < cloning.dies <= len(cloning.clones):
            self.end(cloning.clones[cloning.dies - 1], LOST, 0)

    def _fail(self, call: int, reason: str) -> None:
        for clone in self._clonings.pop(call).clones:
            del self._address[clone]
        self.happened.append(NotCloned(call, CLONE_FAILED, reason))

    def _give_address(self, domain: int) -> None:
        self._addresses_given += 1
        self._address[domain] = str(ipaddress.IPv4Address((self._base + self._addresses_given) % 2**32))
