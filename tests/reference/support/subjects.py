"""Two implementations of the rules behind one face, so that one machine can drive both and compare.

Names instead of UUIDs and keys (names.py). Every step returns its refusal (a code, or None) and what it made happen, sorted:
the order in which several calls are answered is not part of the rules, nor is how often the hypervisor is told to end the same
domain.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from names import Names, State, Step

from gridcentric.reference import calls
from gridcentric.reference.errors import Refused
from gridcentric.reference.registry import MAX_REPORTS, Domain, Result, Ticket
from gridcentric.reference.rules import Rules


class Subject:
    """What both have in common: names, and the keys of domains by name."""

    def __init__(self) -> None:
        self.names = Names()
        self.key: dict[str, int] = {}
        self.domain: dict[int, str] = {}
        self._told_to_end: set[str] = set()
        self.looks = True  # for new names, after each step
        self.grants = True  # every reservation, within the step that asks for it

    def happened(self, events: list[tuple[Any, ...]]) -> tuple[tuple[Any, ...], ...]:
        """The events of a step as they are compared."""
        first = [event for event in events if event[0] != "end" or event[1] not in self._told_to_end]
        self._told_to_end.update(event[1] for event in first if event[0] == "end")
        return tuple(sorted(first, key=repr))

    def events(self) -> list[tuple[Any, ...]]:
        """What there is now, taken out."""
        raise NotImplementedError

    def reserve(self, call: int, kind: str, vms: int) -> None:
        raise NotImplementedError

    def drain(self) -> tuple[tuple[Any, ...], ...]:
        """All that a step has made happen."""
        happened: list[tuple[Any, ...]] = []
        while events := self.events():
            happened += [event for event in events if not self.grants or event[0] not in ("reserve", "release")]
            for event in events if self.grants else []:
                if event[0] == "reserve":
                    self.reserve(event[1], "granted", event[5])
            if self.looks:
                self.look()
        return self.happened(happened)

    def _granted(self, ticket: str) -> str:
        return self.names.give("t", ticket) if ticket else ""

    def name_of(self, key: int) -> str:
        if key not in self.domain:
            self.look()
        return self.domain[key]

    def meet(self, key: int, family: str, vmid: int) -> str:
        name = f"{self.names.give('f', family)}/{vmid}"
        self.domain[key], self.key[name] = name, key
        return name

    def look(self) -> State:
        raise NotImplementedError


class Reference(Subject):
    """gridcentric.reference."""

    def __init__(self, cpus: int, most_reports: int = MAX_REPORTS) -> None:
        super().__init__()
        self.now = 0
        self._uuids = 0
        self.rules = Rules(cpus, lambda: self.now, self._new_uuid, most_reports)

    def _new_uuid(self) -> str:
        self._uuids += 1
        return f"00000000-0000-4000-8000-{self._uuids:012x}"

    def look(self) -> State:
        rules, registry = self.rules, self.rules.registry
        for domain in registry.all_domains():
            self.meet(domain.key, domain.family.id, domain.vmid)
        tickets = tuple((self.names.give("f", family.id), *self._ticket(ticket)) for family, ticket in registry.all_tickets())
        return State(
            rules.ledger.free,
            len(rules.ledger.line),
            len(registry.families),
            rules.next_deadline(),
            tuple(self._domain(domain) for domain in registry.all_domains()),
            tickets,
            tuple((call.id, self.name_of(call.domain), call.verb) for call in rules.calls.values()),
        )

    def _ticket(self, t: Ticket) -> tuple[Any, ...]:
        return (self.names.give("t", t.id), t.status, t.cpus, t.vms, t.want.mincpuspervm, t.owner.vmid)

    def _domain(self, d: Domain) -> tuple[Any, ...]:
        return (self.name_of(d.key), d.parent, self.names.give("t", d.ticket.id), d.state, d.born_ms)

    def _step(self, do: Callable[[], Any], write: Callable[[Any], Any] = lambda value: value) -> Step:
        code = value = None
        try:
            value = do()
        except Refused as refused:
            code = refused.code
        if self.looks:
            self.look()
        return Step(code, self.drain(), None if code else write(value))

    def events(self) -> list[tuple[Any, ...]]:
        events = [self._event(event) for event in self.rules.events]
        self.rules.events.clear()
        return events

    def reserve(self, call: int, kind: str, vms: int) -> None:
        if kind == "granted":
            self.rules.reserved(call, vms)
        elif kind == "refused":
            self.rules.reservation_refused(call, "as scripted")
        else:
            self.rules.reserve_later(call, "as scripted")

    def reserved(self, call: int, kind: str, vms: int) -> Step:
        return self._step(lambda: self.reserve(call, kind, vms))

    def ask_again(self) -> Step:
        return self._step(self.rules.ask_again)

    def _event(self, event: calls.Event) -> tuple[Any, ...]:
        if isinstance(event, calls.Answered):
            return ("answer", event.call, None, self._granted(event.ticket), tuple(map(_result, event.results)))
        if isinstance(event, calls.CallRefused):
            return ("answer", event.call, event.code, "", ())
        if isinstance(event, calls.Dropped):
            return ("drop", event.call)
        if isinstance(event, calls.Reserve):
            ticket = self.names.give("t", event.ticket)
            return ("reserve", event.call, self.name_of(event.domain), ticket, event.least, event.most, event.cpus_per_vm)
        if isinstance(event, calls.Release):
            return ("release", self.names.give("t", event.ticket))
        if isinstance(event, calls.MakeClones):
            return ("make", event.call, self.name_of(event.parent), tuple(map(self.name_of, event.clones)))
        if isinstance(event, calls.UndoClones):
            return ("undo", event.call, self.name_of(event.parent))
        return ("end", self.name_of(event.domain))

    def _call(self, call: int, ask: Callable[[], None]) -> Step:
        """A call that waits: a refusal at once and one by an event are the same."""
        step = self._step(ask)
        if step.code is None:
            return step
        return Step(None, tuple(sorted((*step.happened, ("answer", call, step.code, "", ())), key=repr)))

    def adopt(self, on_exit: str) -> Step:
        return self._step(lambda: self.rules.adopt(on_exit), self.name_of)

    def bye(self, domain: str) -> Step:
        return self._step(lambda: self.rules.bye(self.key[domain]))

    def ended(self, domain: str, how: str, status: int) -> Step:
        return self._step(lambda: self.rules.ended(self.key[domain], how, status))

    def release_ticket(self, domain: str, ticket: str) -> Step:
        return self._step(lambda: self.rules.release_ticket(self.key[domain], self.names.ticket(ticket)))

    def hand_over(self, domain: str, ticket: str, vmid: int) -> Step:
        return self._step(lambda: self.rules.hand_over(self.key[domain], self.names.ticket(ticket), vmid))

    def forget_ticket(self, domain: str, ticket: str) -> Step:
        return self._step(lambda: self.rules.forget_ticket(self.key[domain], self.names.ticket(ticket)))

    def ticket_info(self, domain: str, ticket: str) -> Step:
        return self._step(lambda: self.rules.ticket_info(self.key[domain], self.names.ticket(ticket)), self._ticket)

    def list_tickets(self, domain: str) -> Step:
        return self._step(lambda: self.rules.list_tickets(self.key[domain]), lambda ts: tuple(map(self._ticket, ts)))

    def list_domains(self, domain: str) -> Step:
        return self._step(lambda: self.rules.list_domains(self.key[domain]), lambda ds: tuple(map(self._domain, ds)))

    def join(self, domain: str, report: Optional[bytes]) -> Step:
        return self._step(lambda: self.rules.join(self.key[domain], report))

    def kill(self, domain: str, vmid: int) -> Step:
        return self._step(lambda: self.rules.kill(self.key[domain], vmid))

    def kill_domain(self, family: str, vmid: int) -> Step:
        return self._step(lambda: self.rules.kill_domain(self.names.ticket(family), vmid))

    def request_ticket(self, call: int, domain: str, maxcpus: int, minvms: int, per: int, timeout: int) -> Step:
        ask = self.rules.request_ticket
        return self._call(call, lambda: ask(call, self.key[domain], maxcpus, minvms, per, timeout))

    def clone(self, call: int, domain: str, ticket: str) -> Step:
        return self._call(call, lambda: self.rules.clone(call, self.key[domain], self.names.ticket(ticket)))

    def sync(self, call: int, domain: str, ticket: str, timeout: int) -> Step:
        return self._call(call, lambda: self.rules.sync(call, self.key[domain], self.names.ticket(ticket), timeout))

    def wait(self, call: int, domain: str, ticket: str, timeout: int) -> Step:
        return self._call(call, lambda: self.rules.wait(call, self.key[domain], self.names.ticket(ticket), timeout))

    def cancel(self, call: int) -> Step:
        return self._step(lambda: self.rules.cancel(call))

    def cloned(self, call: int) -> Step:
        return self._step(lambda: self.rules.cloned(call))

    def clone_failed(self, call: int, code: str) -> Step:
        return self._step(lambda: self.rules.clone_failed(call, code, "as scripted"))

    def advance(self, now: int) -> Step:
        self.now = now
        return self._step(self.rules.expire)


class Cpp(Subject):
    """core/model, through gridcentric._model."""

    def __init__(self, cpus: int, most_reports: int = MAX_REPORTS) -> None:
        super().__init__()
        from gridcentric import _model

        self.now = 0
        self.rules: Any = _model.Rules(cpus, 7, most_reports)

    def look(self) -> State:
        domains = self.rules.all_domains()
        for key, family, vmid, *_ in domains:
            self.meet(key, family, vmid)
        tickets = tuple((self.names.give("f", family), *self._ticket(t)) for family, t in self.rules.all_tickets())
        return State(
            self.rules.cpus_free(),
            self.rules.queue_length(),
            self.rules.family_count(),
            self.rules.next_deadline(),
            tuple(map(self._domain, domains)),
            tickets,
            tuple((call, self.name_of(domain), verb) for call, domain, verb in self.rules.all_calls()),
        )

    def _ticket(self, t: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.names.give("t", t[0]), *t[1:])

    def _domain(self, d: tuple[Any, ...]) -> tuple[Any, ...]:
        key, _, _, parent, ticket, state, born = d
        return (self.name_of(key), None if parent < 0 else parent, self.names.give("t", ticket), state, born)

    def _step(self, answer: Any = None, write: Callable[[Any], Any] = lambda value: None) -> Step:
        """`answer`: None, (code, text), or a pair of such and a value."""
        error, value = answer if isinstance(answer, tuple) and not isinstance(answer[0], str) else (answer, None)
        if self.looks:
            self.look()
        happened = self.drain()
        return Step(error[0], happened) if error else Step(None, happened, write(value))

    def events(self) -> list[tuple[Any, ...]]:
        return [self._event(event) for event in self.rules.take_events()]

    def reserve(self, call: int, kind: str, vms: int) -> None:
        self.rules.reserved(call, kind, vms, self.now)

    def reserved(self, call: int, kind: str, vms: int) -> Step:
        return self._step(self.reserve(call, kind, vms))

    def ask_again(self) -> Step:
        return self._step(self.rules.ask_again(self.now))

    def _event(self, event: tuple[Any, ...]) -> tuple[Any, ...]:
        kind, *rest = event
        if kind == "reply":
            call, error, ticket, results = rest
            ticket = "" if error else self._granted(ticket)
            return ("answer", call, error[0] if error else None, ticket, tuple(results))
        if kind == "drop":
            return ("drop", *rest)
        if kind == "start_clone":
            return ("make", rest[0], self.name_of(rest[1]), tuple(map(self.name_of, rest[2])))
        if kind == "reserve":
            call, domain, ticket, *sizes = rest
            return ("reserve", call, self.name_of(domain), self.names.give("t", ticket), *sizes)
        if kind == "release":
            return ("release", self.names.give("t", rest[0]))
        if kind == "cancel_clone":
            return ("undo", rest[0], self.name_of(rest[1]))
        return ("end", self.name_of(rest[0]))

    def adopt(self, on_exit: str) -> Step:
        key = self.rules.adopt(on_exit, self.now)
        return self._step((None, key), self.name_of)

    def bye(self, domain: str) -> Step:
        return self._step(self.rules.bye(self.key[domain]))

    def ended(self, domain: str, how: str, status: int) -> Step:
        return self._step(self.rules.ended(self.key[domain], how, status, self.now))

    def release_ticket(self, domain: str, ticket: str) -> Step:
        return self._step(self.rules.release_ticket(self.key[domain], self.names.ticket(ticket), self.now))

    def hand_over(self, domain: str, ticket: str, vmid: int) -> Step:
        return self._step(self.rules.hand_over(self.key[domain], self.names.ticket(ticket), vmid, self.now))

    def forget_ticket(self, domain: str, ticket: str) -> Step:
        return self._step(self.rules.forget_ticket(self.key[domain], self.names.ticket(ticket), self.now))

    def ticket_info(self, domain: str, ticket: str) -> Step:
        return self._step(self.rules.ticket_info(self.key[domain], self.names.ticket(ticket)), self._ticket)

    def list_tickets(self, domain: str) -> Step:
        return self._step(self.rules.list_tickets(self.key[domain]), lambda ts: tuple(map(self._ticket, ts)))

    def list_domains(self, domain: str) -> Step:
        return self._step(self.rules.list_domains(self.key[domain]), lambda ds: tuple(map(self._domain, ds)))

    def join(self, domain: str, report: Optional[bytes]) -> Step:
        return self._step(self.rules.join(self.key[domain], report))

    def kill(self, domain: str, vmid: int) -> Step:
        return self._step(self.rules.kill(self.key[domain], vmid))

    def kill_domain(self, family: str, vmid: int) -> Step:
        return self._step(self.rules.kill_domain(self.names.ticket(family), vmid))

    def request_ticket(self, call: int, domain: str, maxcpus: int, minvms: int, per: int, timeout: int) -> Step:
        return self._step(self.rules.request_ticket(call, self.key[domain], maxcpus, minvms, per, timeout, self.now))

    def clone(self, call: int, domain: str, ticket: str) -> Step:
        return self._step(self.rules.clone(call, self.key[domain], self.names.ticket(ticket), self.now))

    def sync(self, call: int, domain: str, ticket: str, timeout: int) -> Step:
        return self._step(self.rules.sync(call, self.key[domain], self.names.ticket(ticket), timeout, self.now))

    def wait(self, call: int, domain: str, ticket: str, timeout: int) -> Step:
        return self._step(self.rules.wait(call, self.key[domain], self.names.ticket(ticket), timeout, self.now))

    def cancel(self, call: int) -> Step:
        return self._step(self.rules.cancel(call, self.now))

    def cloned(self, call: int) -> Step:
        return self._step(self.rules.clone_done(call, "ok", "", self.now))

    def clone_failed(self, call: int, code: str) -> Step:
        return self._step(self.rules.clone_done(call, code, "as scripted", self.now))

    def advance(self, now: int) -> Step:
        self.now = now
        return self._step(self.rules.advance(now))


class Lockstep:
    """Every step is done by all subjects; they must agree on what it did and on everything that can be observed."""

    def __init__(self, subjects: list[Any]) -> None:
        self.subjects = subjects
        self.looks = True
        self.was: Any = None  # everything before the step

    def look_after_each_step(self, looks: bool) -> None:
        """Whether everything is compared after each step: with 1,000 tickets that takes too long."""
        for one in [self, *self.subjects]:
            one.looks = looks

    def grant_at_once(self, grants: bool) -> None:
        """Whether the hypervisor grants every reservation, or is played by the test."""
        for one in self.subjects:
            one.grants = grants

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            first, *others = [getattr(subject, verb)(*arguments) for subject in self.subjects]
            for subject, other in zip(self.subjects[1:], others):
                assert other == first, f"{verb}{arguments}: {type(subject).__name__} {other}, reference {first}, was {self.was}"
            if verb != "look" and self.looks:
                self.was = self.look()
            return first

        return step


def _result(result: Result) -> tuple[Any, ...]:
    return (result.vmid, result.how, result.status, result.report)
