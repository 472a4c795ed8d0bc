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

    def grant(self, free: int) -> int:
        """The CPUs it gets of `free` ones: the largest multiple of `mincpuspervm` that is free and at most `maxcpus`;
        0 when these would make fewer than `minvms` VMs."""
        cpus = min(self.maxcpus, free) // self.mincpuspervm * self.mincpuspervm
        return cpus if cpus >= self.least else 0


class Ledger(Generic[Key]):
    """CPUs and the line. At all times `free` and what is held add up to `cpus`."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.free = cpus
        self.held: dict[Key, int] = {}
        self.line: OrderedDict[Key, Want] = OrderedDict()

    def ask(self, key: Key, want: Want) -> None:
        """Go to the end of the line. Nothing is granted before `serve`."""
        self.line[key] = want

    def serve(self) -> list[tuple[Key, int]]:
        """Grant from the head of the line, each as much as it can have, as long as the head can be granted.

        The line is strict: while the head waits nobody behind it is served, however little it asks for.
        """
        granted = []
        while self.line:
            key, want = next(iter(self.line.items()))
            cpus = want.grant(self.free)
            if not cpus:
                break
            del self.line[key]
            self.free -= cpus
            self.held[key] = cpus
            granted.append((key, cpus))
        return granted

    def leave(self, key: Key) -> None:
        """Step out of the line. Whoever is behind a head that left may be served now."""
        del self.line[key]

    def give_back(self, key: Key) -> None:
        """All CPUs that `key` holds are free again, at once."""
        self.free += self.held.pop(key)
