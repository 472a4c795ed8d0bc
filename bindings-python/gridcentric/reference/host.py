"""The host: the rules, a hypervisor and the conversations with guests, put together.

No sockets here (server.py), and no decisions about what a call means (rules.py). Everything happens in `run`: events of the
rules are carried out, what the hypervisor reports is told to the rules, until nothing is left to do.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Protocol

from .calls import Answered, CallRefused, Dropped, EndDomain, Event, MakeClones, Release, Reserve
from .errors import INVALID_ARGUMENT, Refused
from .hypervisor import Cloned, Ended, Happened, Hypervisor, NotCloned, Reserved, Script
from .orders import Orders
from .registry import EXITED, LOST, Domain, Result
from .rules import Rules
from .wire import write_report

MAX_CLOCK = 2**53


class Caller(Protocol):
    """The conversation in which calls are made (session.Session)."""

    def answer(self, call_id: str, verb: str, items: Iterable[str], fields: str) -> None: ...
    def refuse(self, call_id: str, verb: str, refused: Refused) -> None: ...
    def drop(self, call_id: str) -> None: ...
    def close(self) -> None: ...


class Processes(Protocol):
    """The processes of the machine (server.Processes)."""

    def lineage(self, pid: int) -> Iterable[int]:
        """The process and its ancestors, the nearest first."""
        ...

    def watch(self, pid: int, gone: Callable[[], None]) -> None:
        """Call `gone` once when it has ended. Raises ProcessLookupError when it has already."""
        ...

    def unwatch(self, pid: int) -> None: ...


@dataclass(frozen=True)
class OpenCall:
    caller: Caller
    id: str  # on the caller's connection
    verb: str


@dataclass(frozen=True)
class Await:
    """A test waits until `count` calls of `verb` are open."""

    caller: Caller
    id: str
    verb: str
    count: int


class Control:
    """The channel through which tests drive a host that is made with one: its virtual clock, what they have scripted and what
    they wait for. The verbs are in control.py."""

    def __init__(self) -> None:
        self.now = 0
        self.awaits: list[Await] = []
        self.dropped_replies: Counter[str] = Counter()
        self.script: Script  # of the host's hypervisor, which must have one


class Host:
    """`make_hypervisor` is given the host's clock. Not thread-safe."""

    def __init__(
        self,
        cpus: int,
        seed: int,
        make_hypervisor: Callable[[Callable[[], int]], Hypervisor],
        processes: Processes,
        control: Control | None = None,
    ) -> None:
        self.cpus = cpus
        self.control = control
        self._seed = seed
        self._processes = processes
        self._started = time.monotonic_ns()
        self._last_call = 0
        self.open_calls: dict[int, OpenCall] = {}
        self.sessions: dict[int, dict[Caller, None]] = {}  # conversations by the key of their domain (0: none)
        self._pids: dict[int, int] = {}  # of masters that are processes: pid -> key
        self._random = random.Random(seed)
        self.hypervisor = make_hypervisor(self.now)
        if control:
            control.script = self.hypervisor.script
        self.rules = Rules(cpus, self.now, self._new_uuid)
        self.orders = Orders(self)

    # --- time --------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Milliseconds since the host began."""
        return self.control.now if self.control else (time.monotonic_ns() - self._started) // 1_000_000

    def next_due(self) -> int | None:
        """When `run` has something to do that nobody asks for."""
        times = [t for t in (self.rules.next_deadline(), self.hypervisor.next_due()) if t is not None]
        return min(times) if times else None

    def advance(self, control: Control, ms: int) -> None:
        """Move the virtual clock, running everything due in the order of time."""
        target = control.now + ms
        if target > MAX_CLOCK:
            raise Refused(INVALID_ARGUMENT, f"advance by {ms}: the clock is at {control.now} and never passes {MAX_CLOCK}")
        self.run()
        due = self.next_due()
        while due is not None and due <= target:
            control.now = max(due, control.now)
            self.run()
            due = self.next_due()
        control.now = target

    # --- the wheel ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do what is due and what follows from it. Times of calls run out before clonings are done."""
        self.rules.expire()
        self._settle()
        self.hypervisor.run_due()
        self._settle()
        awaits = self.control.awaits if self.control else []
        for waiting in [w for w in awaits if self.count_open(w.verb) >= w.count]:
            awaits.remove(waiting)
            waiting.caller.answer(waiting.id, "await", (), "")

    def _settle(self) -> None:
        while self.rules.events or self.hypervisor.happened:
            if self.rules.events:
                self._carry_out(self.rules.events.popleft())
            else:
                self._report(self.hypervisor.happened.popleft())

    def _carry_out(self, event: Event) -> None:
        if isinstance(event, Reserve):
            self.hypervisor.reserve(event.call, event.most)
        elif isinstance(event, Release):
            self.hypervisor.release(event.ticket)
        elif isinstance(event, MakeClones):
            self.hypervisor.clone(event.call, event.clones)
            self.hypervisor.run_due()
        elif isinstance(event, EndDomain):
            self.hypervisor.end(event.domain)
        elif isinstance(event, Answered):
            call = self.open_calls.pop(event.call)
            fields = {"request_ticket": event.ticket, "clone": "0", "wait": str(len(event.results))}.get(call.verb, "")
            call.caller.answer(call.id, call.verb, map(_result_item, event.results), fields)
        elif isinstance(event, CallRefused):
            call = self.open_calls.pop(event.call)
            call.caller.refuse(call.id, call.verb, Refused(event.code, event.text))
        elif isinstance(event, Dropped):
            call = self.open_calls.pop(event.call)
            call.caller.drop(call.id)
        else:
            self.hypervisor.undo(event.call)

    def _report(self, event: Happened) -> None:
        if isinstance(event, Reserved):
            self.rules.reserved(event.call, event.vms)
        elif isinstance(event, Cloned):
            self.rules.cloned(event.call)
        elif isinstance(event, NotCloned):
            self.rules.clone_failed(event.call, event.code, event.reason)
        else:
            self._ended(event)

    def _ended(self, event: Ended) -> None:
        self.rules.ended(event.domain, event.how, event.status)
        for pid in [pid for pid, key in self._pids.items() if key == event.domain]:
            del self._pids[pid]
            self._processes.unwatch(pid)
        for session in list(self.sessions.get(event.domain, ())):
            session.close()

    # --- calls -------------------------------------------------------------------------------------------------------

    def open_call(self, caller: Caller, call_id: str, verb: str) -> int:
        """A number for a call that waits: for the rules, which know no connections."""
        self._last_call += 1
        self.open_calls[self._last_call] = OpenCall(caller, call_id, verb)
        return self._last_call

    def take_back(self, *calls: int) -> None:
        """As if they had never waited; without effect on those that are not open any more."""
        for call in calls:
            self.open_calls.pop(call, None)
        self.rules.cancel(*calls)

    def count_open(self, verb: str) -> int:
        return sum(call.verb == verb for call in self.rules.calls.values())

    def begin_session(self, session: Caller, domain: int) -> None:
        """A conversation on behalf of a domain (0: of none) has begun."""
        self.sessions.setdefault(domain, {})[session] = None

    def end_session(self, session: Caller, domain: int) -> None:
        """Its connection is gone."""
        if self.control:
            self.control.awaits = [w for w in self.control.awaits if w.caller is not session]
        self.orders.end_session(session)
        sessions = self.sessions.get(domain, {})
        sessions.pop(session, None)
        if not sessions:
            self.sessions.pop(domain, None)

    # --- domains -----------------------------------------------------------------------------------------------------

    def domain_of(self, pid: int) -> int:
        """The key of the domain that a process, or the nearest of its ancestors, is; 0: none."""
        return next((self._pids[p] for p in self._processes.lineage(pid) if p in self._pids), 0)

    def is_domain(self, pid: int) -> bool:
        return pid in self._pids

    def adopt(self, pid: int) -> int:
        """This process becomes the master of a new family, which ends with it."""

        def gone() -> None:
            self.hypervisor.end(key, EXITED if self.domain(key).family.said_bye else LOST, 0)
            self.run()

        self._processes.watch(pid, gone)
        key = self._pids[pid] = self.rules.adopt()
        self.hypervisor.adopt(key)
        return key

    def domain(self, key: int) -> Domain:
        return self.rules.registry.domains[key]

    def pid_of(self, key: int) -> int | None:
        return next((pid for pid, domain in self._pids.items() if domain == key), None)

    def describe(self, domain: Domain) -> str:
        """VMID PARENT IP TICKET STATE, as lists of domains have it."""
        parent = "-" if domain.parent is None else domain.parent
        return f"{domain.vmid} {parent} {self.hypervisor.address_of(domain.key)} {domain.ticket.id} {domain.state}"

    # --- forgetting --------------------------------------------------------------------------------------------------

    def restart(self, control: Control) -> None:
        """Forget everything, as a host does that ends and begins again; the clock and the sequence of UUIDs go on."""
        for pid in self._pids:
            self._processes.unwatch(pid)
        self._pids.clear()
        self.open_calls.clear()
        control.dropped_replies.clear()
        control.script.restart()
        self.rules = Rules(self.cpus, self.now, self._new_uuid)
        self.orders = Orders(self)

    def reset(self, control: Control) -> None:
        """A new, empty host."""
        self.restart(control)
        control.script.reset()
        self._random.seed(self._seed)
        control.now = 0

    def _new_uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def _result_item(result: Result) -> str:
    return f"{result.vmid} {result.how} {result.status} {write_report(result.report)}"
