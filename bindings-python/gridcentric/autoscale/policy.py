"""The rules of scaling, pure: who the users are, which clone each goes to, how many clones are missing, which may go.

No sockets, no timers, no guest library: time and random numbers are passed in. bindings-node/lib/autoscale/policy.js is its
twin; tests/autoscale/cases drive both.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable, Optional

from gridcentric.autoscale.options import Options

# How long, and how many, strangers (users that have not yet returned their cookie) are remembered, so that they find the same
# clone. Probes, scripts and webhooks stay strangers.
STRANGER_MS = 60000
MAX_STRANGERS = 10000
# How long an absent user's clone is remembered, so that a returning user finds the same one.
AFFINITY_MS = 3600000
# More users than this are refused, to bound their memory.
MAX_USERS = 100000

# A user's id, as carried by the cookie: unguessable, so that nobody can take another's place.
is_id = re.compile(r"[0-9a-f]{32}").fullmatch


class Refused(Exception):
    """A user cannot be placed. The user sees the message."""


@dataclass(eq=False)
class User:
    id: str
    seen: float
    vmid: Optional[int] = None
    open: int = 0  # requests in progress
    active: bool = False  # counts as a user now
    confirmed: bool = False  # has returned its cookie


@dataclass(eq=False)
class Clone:
    vmid: int
    ip: str
    empty_since: float
    users: int = 0  # active ones
    draining: bool = False


@dataclass(frozen=True)
class Plan:
    request: int
    drain: list[int]


def _latest(clones: list[Clone], policy: Policy) -> Clone:
    return max(clones, key=lambda clone: clone.vmid)


def _least_loaded(clones: list[Clone], policy: Policy) -> Clone:
    return min(clones, key=lambda clone: clone.users)


def _round_robin(clones: list[Clone], policy: Policy) -> Clone:
    chosen = next((clone for clone in clones if clone.vmid > policy.last_placed), clones[0])
    policy.last_placed = chosen.vmid
    return chosen


def _random(clones: list[Clone], policy: Policy) -> Clone:
    return clones[math.floor(policy.options.random() * len(clones))]


STRATEGIES: dict[str, Callable[[list[Clone], Policy], Clone]] = {
    "latest": _latest,
    "least-loaded": _least_loaded,
    "round-robin": _round_robin,
    "random": _random,
}


class Policy:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.users: dict[str, User] = {}
        self.strangers: dict[str, User] = {}  # users not yet confirmed; oldest first
        self.clones: dict[int, Clone] = {}  # ordered by vmid
        self.active = 0
        self.last_placed = 0
        self.last_scaled = -math.inf

    def enter(self, id: Optional[str], given: Optional[str], now: float) -> User:
        """A user's request begins.

        id: the contents of its cookie, if any; an unknown id makes a stranger. given: the user's name, if it is identified by
        something other than a cookie. Raises Refused if there are too many users.
        """
        user = self.users.get(given or id or "")
        if not user:
            known = self.strangers.get(id or "")
            user = known or User(given or secrets.token_hex(16), now)
            if known or given:
                self._confirm(user)
            else:
                self._remember(user)
        if not user.active:
            user.active = True
            self.active += 1
            self._occupy(user, 1, now)
        user.open += 1
        user.seen = now
        return user

    def exit(self, user: User, now: float) -> None:
        """The request has ended; a stranger is then no longer active."""
        user.open -= 1
        user.seen = now
        if not user.open and not user.confirmed:
            self._leave(user, now)

    def expire(self, now: float) -> None:
        """Users without an open request for a while are no longer active; long-absent ones are forgotten."""
        for user in list(self.users.values()):
            if user.open:
                continue
            absent = now - user.seen
            if absent >= self.options.user_timeout:
                self._leave(user, now)
            if not user.active and absent >= AFFINITY_MS:
                del self.users[user.id]
        for user in list(self.strangers.values()):
            if not user.open and now - user.seen >= STRANGER_MS:
                del self.strangers[user.id]

    def find(self, id: Optional[str]) -> Optional[User]:
        """The user with this id in its cookie, or with this name; None if unknown."""
        return self.users.get(id or "") or self.strangers.get(id or "")

    def observe(self, domains: Iterable[Any], now: float) -> tuple[list[int], list[int]]:
        """Take the living clones, as the host lists them. Returns the vmids that are new and those that have ended."""
        living = {domain.vmid: domain for domain in domains}
        lost = [vmid for vmid in self.clones if vmid not in living]
        for vmid in lost:
            del self.clones[vmid]
        added = sorted(vmid for vmid in living if vmid not in self.clones)
        for vmid in added:
            self.clones[vmid] = Clone(vmid, living[vmid].ip, empty_since=now)
        if lost:  # its users go elsewhere with their next request
            for user in (*self.users.values(), *self.strangers.values()):
                if user.vmid in lost:
                    user.vmid = None
        return added, lost

    def place(self, user: User, now: float, final: bool = False) -> Optional[Clone]:
        """The clone that a user goes to.

        A user stays where it is; a new one goes to a clone with room, chosen by the strategy. If there is none but one may
        still come, returns None (hold the request); if none can come, a clone with the fewest users. final: no clone will
        come now, because the last attempt to scale has ended.
        """
        here = self.clones.get(user.vmid) if user.vmid is not None else None
        if here and not here.draining:
            return here
        open_ = [clone for clone in self.clones.values() if not clone.draining]
        candidates = [clone for clone in open_ if clone.users < self.options.users_per_clone]
        if not candidates:
            if not open_ or (not final and self._can_grow(now)):
                return None
            least = min(clone.users for clone in open_)
            candidates = [clone for clone in open_ if clone.users == least]
        clone = self._choose(candidates, user)
        user.vmid = clone.vmid
        if user.active:
            self._occupy(user, 1, now)
        return clone

    def plan(self, now: float) -> Plan:
        """What to do now: how many clones to request, which ones to drain."""
        options = self.options
        if now - self.last_scaled < options.cooldown:
            return Plan(0, [])
        open_ = [clone for clone in self.clones.values() if not clone.draining]
        wanted = math.ceil(self.active / options.users_per_clone)
        target = min(options.max_clones, max(options.min_clones, wanted))
        # Clones on their way out still count against max_clones.
        request = max(0, min(target - len(open_), options.max_clones - len(self.clones)))
        idle = [
            clone
            for clone in open_
            if options.drain is not False and not clone.users and now - clone.empty_since >= options.drain
        ]
        draining = idle[: max(0, len(open_) - target)]
        for clone in draining:
            clone.draining = True
        if request or draining:
            self.last_scaled = now
        return Plan(request, [clone.vmid for clone in draining])

    def _confirm(self, user: User) -> None:
        if len(self.users) >= MAX_USERS:
            raise Refused(f"more than {MAX_USERS} users")
        self.strangers.pop(user.id, None)
        user.confirmed = True
        self.users[user.id] = user

    def _remember(self, user: User) -> None:
        if len(self.strangers) >= MAX_STRANGERS:
            oldest = next((old for old in self.strangers.values() if not old.open), None)
            if oldest:
                del self.strangers[oldest.id]
        self.strangers[user.id] = user

    def _leave(self, user: User, now: float) -> None:
        if user.active:
            user.active = False
            self.active -= 1
            self._occupy(user, -1, now)

    def _can_grow(self, now: float) -> bool:
        return len(self.clones) < self.options.max_clones and now - self.last_scaled >= self.options.cooldown

    def _choose(self, candidates: list[Clone], user: User) -> Clone:
        strategy = self.options.strategy
        if isinstance(strategy, str):
            return STRATEGIES[strategy](candidates, self)
        try:
            answer = strategy([{"vmid": c.vmid, "ip": c.ip, "users": c.users} for c in candidates], user.id)
        except Exception as error:
            raise Refused(f"the strategy function failed: {error}") from error
        wanted = answer.get("vmid") if isinstance(answer, dict) else answer
        for clone in candidates:
            if clone.vmid == wanted:
                return clone
        vmids = ", ".join(str(clone.vmid) for clone in candidates)
        raise Refused(f"the strategy function chose {answer!r}, expected one of the clones {vmids}")

    def _occupy(self, user: User, change: int, now: float) -> None:
        clone = self.clones.get(user.vmid) if user.vmid is not None else None
        if not clone:
            return
        clone.users += change
        if not clone.users:
            clone.empty_since = now
