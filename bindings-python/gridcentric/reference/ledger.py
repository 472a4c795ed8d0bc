"""The ledger: how many of the host's CPUs are free, who holds the others, and who waits in line for some.

It knows nothing of families, domains, time or what a key stands for.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")


@dataclass(frozen=True)
class Want:
    """What a request asks for: at most `maxcpus` CPUs, for at least `minvms` VMs of `mincpuspervm` CPUs each."""

    maxcpus: int
    minvms: int
    mincpuspervm: int

    @property
    def least(self) -> int:
        """The CPUs without which the request cannot be granted."""
        return self.minvms * self.mincpuspervm

    def vms(self, free: int) -> int:
        """The VMs that `free` CPUs are enough for: as many as `maxcpus` allows, 0 when they would be fewer than `minvms`."""
        vms = min(self.maxcpus, free) // self.mincpuspervm
        return vms if vms >= self.minvms else 0


class Ledger(Generic[Key]):
    """CPUs and the line. At all times `free` and what is held add up to `cpus`."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.free = cpus
        self.held: dict[Key, int] = {}
        self.line: OrderedDict[Key, Want] = OrderedDict()

    def ask(self, key: Key, want: Want) -> None:
        """Go to the end of the line. Nothing is granted before `grant`."""
        self.line[key] = want

    def offer(self) -> tuple[Key, int] | None:
        """The head of the line and the VMs that there are CPUs for; None while it must wait.

        The line is strict: while the head waits nobody behind it is served, however little it asks for.
        """
        for key, want in self.line.items():
            vms = want.vms(self.free)
            return (key, vms) if vms else None
        return None

    def grant(self, key: Key, vms: int) -> int:
        """`key` leaves the line with the CPUs of that many VMs; how many CPUs that is."""
        cpus = vms * self.line.pop(key).mincpuspervm
        self.free -= cpus
        self.held[key] = cpus
        return cpus

    def leave(self, key: Key) -> None:
        """Step out of the line. Whoever is behind a head that left may be served now."""
        del self.line[key]

    def give_back(self, key: Key) -> None:
        """All CPUs that `key` holds are free again, at once."""
        self.free += self.held.pop(key)
