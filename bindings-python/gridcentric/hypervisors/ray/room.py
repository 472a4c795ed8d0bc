"""How many VMs fit into the computers of a cluster: the arithmetic of tickets, pure. Knows nothing of Ray.

Ray says with a delay of about a second what is free; what this host itself has taken and given back is counted here, at
once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Size:
    """What there is, or what a VM takes."""

    cpus: float
    memory: float  # bytes


def fits(free: Size, vm: Size) -> int:
    """How many such VMs there is room for."""
    by_memory = int(free.memory // vm.memory)
    return max(0, by_memory if vm.cpus == 0 else min(int(free.cpus // vm.cpus), by_memory))


@dataclass
class Room:
    """The computers, by their names, and what of them is this host's."""

    computers: dict[str, Size] = field(default_factory=dict)
    _taken: dict[str, tuple[Size, Counter[str]]] = field(default_factory=dict)  # by ticket: of each VM, and how many are where

    def take(self, ticket: str, vm: Size, where: Iterable[str]) -> None:
        """where: the computer of each VM."""
        assert ticket not in self._taken, f"ticket {ticket} has its VMs already"
        self._taken[ticket] = (vm, Counter(where))

    def give_back(self, ticket: str) -> None:
        """One that has nothing is ignored."""
        self._taken.pop(ticket, None)

    def free(self) -> dict[str, Size]:
        """By computer, as if nobody but this host took anything."""
        left = dict(self.computers)
        for vm, where in self._taken.values():
            for name, many in where.items():
                if name in left:
                    left[name] = Size(left[name].cpus - many * vm.cpus, left[name].memory - many * vm.memory)
        return left

    def most(self, vm: Size, reported: Mapping[str, Size] | None = None) -> int:
        """The number of such VMs that there is room for; reported: what is free as others see it, where that may be less."""
        return sum(
            min(fits(free, vm), fits(reported.get(name, Size(0, 0)), vm) if reported is not None else fits(free, vm))
            for name, free in self.free().items()
        )


def share_out(clones: list[tuple[int, int, str]], where: list[str], first: str) -> dict[str, list[tuple[int, int, str]]]:
    """Which clones go to which computer; where: the computers of the ticket's VMs, one for each. Those of computer `first`, the
    parent's own, come first."""
    order = sorted(where, key=lambda name: (name != first, name))
    shares: dict[str, list[tuple[int, int, str]]] = {}
    for name, clone in zip(order, clones):
        shares.setdefault(name, []).append(clone)
    return shares
