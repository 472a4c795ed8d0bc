"""The rules of `gc scale`: how many clones are wanted, and which of them go. Those of autoscale, with more to scale by than
users, clones that are drained while they still have some, and a minimum that changes.

Pure, as policy.py is. tests/scale/cases has them as data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Optional

from gridcentric.autoscale.policy import Clone, Plan, Policy, User
from gridcentric.scale.settings import Settings

# Of a CPU target: within this share of it nothing is done.
TOLERANCE = 0.1
# Below this share of a latency target a clone may go.
AT_EASE = 0.5


@dataclass(frozen=True)
class Load:
    """What is measured: now, or over the window."""

    connections: int = 0  # open
    requests: float = 0.0  # a second
    cpu: Optional[float] = None  # percent of one CPU that a clone uses, on average; None: not measured for a whole window yet
    latency: Optional[float] = None  # 95th percentile, ms; None likewise


@dataclass(frozen=True)
class ScalePlan(Plan):
    begun: list[int] = field(default_factory=list)  # clones that from now on get nobody new
    kept: list[int] = field(default_factory=list)  # clones that were to go, and are needed again


class Rules(Policy):
    def __init__(self, settings: Settings, **more: Any) -> None:
        super().__init__(settings.options(**more))
        self.settings = settings
        self.minimum = settings.min  # by the schedule, now
        self.load = Load()
        self.drained_since: dict[int, float] = {}  # when each began to be drained
        self._excess: Optional[tuple[float, int]] = None  # since when there are more clones than wanted, and how many at least

    def place(self, user: User, now: float, final: bool = False) -> Optional[Clone]:
        """A user stays with a clone that is drained, until its time is over."""
        here = self.clones.get(user.vmid) if user.vmid is not None else None
        if here and here.vmid in self.drained_since and user.active:
            return here
        return super().place(user, now, final)

    def leave(self, user: User, now: float) -> None:
        """A connection has ended. Nothing of it is remembered."""
        self.exit(user, now)
        self.strangers.pop(user.id, None)

    def observe(self, domains: Any, now: float) -> tuple[list[int], list[int]]:
        added, lost = super().observe(domains, now)
        for vmid in lost:
            self.drained_since.pop(vmid, None)
        return added, lost

    def wanted(self, serving: int) -> int:
        """How many clones the load needs, where that many serve now."""
        settings, load = self.settings, self.load
        if settings.by == "users":
            count = math.ceil(self.active / settings.per_clone)
        elif settings.by == "connections":
            count = math.ceil(load.connections / settings.per_clone)
        elif settings.by == "requests":
            count = math.ceil(round(load.requests / settings.per_clone, 6))
        elif settings.by == "cpu":
            count = _by_cpu(serving, load.cpu, settings.target)
        else:
            count = _by_latency(serving, load.latency, settings.target)
        return max(count, 1 if self.active else 0)

    def plan(self, now: float) -> ScalePlan:
        open_ = [clone for clone in self.clones.values() if not clone.draining]
        target = min(self.settings.max, max(self.minimum, self.wanted(len(open_))))
        missing = target - len(open_)
        self._note_excess(-missing, now)
        request, begun, kept = 0, [], []
        if now - self.last_scaled >= self.options.cooldown:
            if missing > 0:
                kept = self._keep(missing)
                # Clones on their way out still count against max.
                request = max(0, min(missing - len(kept), self.settings.max - len(self.clones)))
            else:
                begun = self._begin_to_drain(open_, now)
            if request or begun or kept:
                self.last_scaled = now
        return ScalePlan(request, self._over(now), begun, kept)

    def _note_excess(self, excess: int, now: float) -> None:
        if excess <= 0:
            self._excess = None
        elif self._excess is None:
            self._excess = (now, excess)
        else:
            self._excess = (self._excess[0], min(self._excess[1], excess))

    def _begin_to_drain(self, open_: list[Clone], now: float) -> list[int]:
        """Those with the fewest users, and of these the newest, once as many have been too many for the time `drain`."""
        if self._excess is None or self.settings.drain is None or now - self._excess[0] < self.settings.drain:
            return []
        chosen = sorted(open_, key=lambda clone: (clone.users, -clone.vmid))[: self._excess[1]]
        self._excess = None
        for clone in chosen:
            clone.draining = True
            self.drained_since[clone.vmid] = now
        return sorted(clone.vmid for clone in chosen)

    def _keep(self, missing: int) -> list[int]:
        """Clones that are being drained serve again, the last to be drained first."""
        again = sorted(self.drained_since, key=lambda vmid: (-self.drained_since[vmid], vmid))[:missing]
        for vmid in again:
            del self.drained_since[vmid]
            self.clones[vmid].draining = False
        return sorted(again)

    def _over(self, now: float) -> list[int]:
        """Drained clones that nobody uses any more, or for whom drain_limit has passed. They are not asked about again."""
        limit = self.settings.drain_limit
        over = [
            vmid
            for vmid, since in self.drained_since.items()
            if not self.clones[vmid].users or (limit is not None and now - since >= limit)
        ]
        for vmid in over:
            del self.drained_since[vmid]
        return sorted(over)


def _by_cpu(serving: int, percent: Optional[float], target: int) -> int:
    """As many as would use the target on average."""
    if percent is None or not serving or abs(percent / target - 1) <= TOLERANCE:
        return serving
    return math.ceil(round(serving * percent / target, 6))


def _by_latency(serving: int, ms: Optional[float], target: int) -> int:
    """One more, or one less: how much a clone more will help is not known."""
    if ms is None or not serving:
        return serving
    return serving + (ms > target) - (ms < target * AT_EASE)
