"""One barrier: a fixed set of members that meet again and again.

It knows nothing of tickets and time; a member is any name, and so is the call with which it waits.

    arrive     the last one to arrive lets all pass, and the barrier starts anew
    withdraw   a wait was taken back: as if it had never arrived; breaks nothing
    give_up    a member's time ran out: all others that wait are told that the barrier broke, and it starts anew
    end        a member has ended: it can never pass again; all that wait are told, and so is whoever comes later
"""

from __future__ import annotations

from collections.abc import Iterable


class Barrier:
    """See the head of the file. What the steps return are the calls whose wait they ended."""

    def __init__(self, members: Iterable[int]) -> None:
        self.members: frozenset[int] = frozenset(members)
        self.waiting: dict[int, int] = {}  # member -> its call, in the order of arrival
        self.broken = False  # for good: a member has ended

    def arrive(self, member: int, call: int) -> list[int]:
        """`member`, which does not wait yet, arrives at a barrier that is not broken. Returns the calls of all members
        if this was the last of them, else none: it waits."""
        self.waiting[member] = call
        return self._release() if len(self.waiting) == len(self.members) else []

    def withdraw(self, member: int) -> None:
        """`member` was waiting and cancels."""
        del self.waiting[member]

    def give_up(self, member: int) -> list[int]:
        """`member` was waiting and its time ran out. Returns the calls of the others, for whom the barrier broke."""
        del self.waiting[member]
        return self._release()

    def end(self) -> list[int]:
        """A member, whose own wait was taken back, has ended. Returns the calls of the others: the barrier broke."""
        self.broken = True
        return self._release()

    def _release(self) -> list[int]:
        calls = list(self.waiting.values())
        self.waiting.clear()
        return calls
