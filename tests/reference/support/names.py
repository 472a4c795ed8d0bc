"""What is compared of an implementation of the rules: what a step has made happen, and everything that can be observed.

Names instead of UUIDs and keys: families are f1, f2, ..., tickets t1, t2, ... in the order of birth, domains "f1/0"
(family/vmid).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional


class Step(NamedTuple):
    """`happened`: ("answer", call, code, ticket, results), ("drop", call), ("make", call, parent, clones), ("undo", call,
    parent), ("end", domain), ("reserve", call, domain, ticket, least, most, cpus_per_vm), ("release", ticket). `code` is None
    when the call succeeded."""

    code: Optional[str]
    happened: tuple[tuple[Any, ...], ...]
    value: Any = None


class State(NamedTuple):
    """Everything that can be observed."""

    free: int
    line: int
    families: int
    deadline: Optional[int]
    domains: tuple[tuple[Any, ...], ...]  # (domain, parent, ticket, state, born)
    tickets: tuple[tuple[Any, ...], ...]  # (family, ticket, status, cpus, vms, mincpuspervm, owner)
    calls: tuple[tuple[Any, ...], ...]  # (call, domain, verb)


class Names:
    """UUIDs by their names and back; every new one gets the next name of its kind."""

    def __init__(self) -> None:
        self.name: dict[str, str] = {}
        self.uuid: dict[str, str] = {}
        self._count = {"f": 0, "t": 0}

    def give(self, kind: str, uuid: str) -> str:
        if uuid not in self.name:
            self._count[kind] += 1
            self.name[uuid] = f"{kind}{self._count[kind]}"
            self.uuid[self.name[uuid]] = uuid
        return self.name[uuid]

    def ticket(self, name: str) -> str:
        """The UUID; what is not a name (malformed, unknown, "-") is itself."""
        return self.uuid.get(name, name)
