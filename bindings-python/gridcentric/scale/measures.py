"""What the clones are scaled by, over a window of time. Pure: the time is passed in, in ms."""

from __future__ import annotations

import math
from collections import deque
from typing import Optional

# Of a window with more requests, every second one is left out, as often as needed.
MOST_SAMPLES = 10_000
# Of a window, in each of which requests are counted.
SLOTS = 10


class Requests:
    """Requests of the last `window` ms: how many a second, and how long their answers took to begin."""

    def __init__(self, window: int) -> None:
        self.window = window
        self._times: deque[tuple[float, float]] = deque()  # (when answered, ms)
        self._counts: deque[tuple[float, int]] = deque()  # (number of a slot, requests in it)
        self._since = -math.inf
        self._step = 1
        self._number = 0

    def arrived(self, now: float) -> None:
        slot = now // self._slot_ms()
        if self._counts and self._counts[-1][0] == slot:
            self._counts[-1] = (slot, self._counts[-1][1] + 1)
        else:
            self._counts.append((slot, 1))
            self._forget(now)

    def answered(self, now: float, ms: float) -> None:
        self._number += 1
        if self._number % self._step:
            return
        self._times.append((now, ms))
        self._forget(now)
        if len(self._times) > MOST_SAMPLES:
            self._times = deque(list(self._times)[::2])
            self._step *= 2

    def scaled(self, now: float) -> None:
        """What was measured with another number of clones says nothing of now."""
        self._since = now
        self._times.clear()
        self._step = 1

    def rate(self, now: float) -> float:
        """Over the window and the part of a slot that has just begun."""
        self._forget(now)
        since = (now // self._slot_ms() - SLOTS) * self._slot_ms()
        return sum(count for _, count in self._counts) * 1000 / (now - since)

    def p95(self, now: float) -> Optional[float]:
        """None until a whole window has passed since scaled(); without any request 0."""
        self._forget(now)
        if now - self._since < self.window:
            return None
        return percentile([ms for _, ms in self._times], 0.95)

    def _slot_ms(self) -> float:
        return self.window / SLOTS

    def _forget(self, now: float) -> None:
        while self._times and now - self._times[0][0] >= self.window:
            self._times.popleft()
        while self._counts and now // self._slot_ms() - self._counts[0][0] > SLOTS:
            self._counts.popleft()


class Cpu:
    """The CPU that clones have used over the last `window` ms."""

    def __init__(self, window: int) -> None:
        self.window = window
        self._since = -math.inf
        self._rounds: deque[tuple[float, dict[int, float]]] = deque()  # (when, CPU ms of each clone since its birth)

    def note(self, now: float, used: dict[int, float]) -> None:
        self._rounds.append((now, used))
        # The first of them is the last one that is older than the window.
        while len(self._rounds) > 2 and now - self._rounds[1][0] >= self.window:
            self._rounds.popleft()

    def scaled(self, now: float) -> None:
        self._since = now
        self._rounds.clear()

    def average(self) -> Optional[float]:
        """Percent of one CPU, of a clone; None until a whole window has passed, or when there are none."""
        if len(self._rounds) < 2:
            return None
        (begin, before), (end, after) = self._rounds[0], self._rounds[-1]
        both = before.keys() & after.keys()
        if not both or end - begin < self.window:
            return None
        used = sum(max(0.0, after[vmid] - before[vmid]) for vmid in both)
        return 100 * used / (end - begin) / len(both)


def percentile(samples: list[float], share: float) -> float:
    """The smallest sample that this share of all does not exceed."""
    return sorted(samples)[math.ceil(len(samples) * share) - 1] if samples else 0.0
