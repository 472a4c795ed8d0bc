"""A Hypothesis machine that makes every call of the rules in any order, and checks at each step what must always hold."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from names import State, Step
from subjects import Lockstep

CPUS = 12
SMALL = st.integers(1, 4)
ANY_SIZE = st.sampled_from([-(2**63), -1, 0, 1, 2, 13, 2**31 - 1, 2**31, 2**63 - 1])
TIMEOUTS = st.sampled_from([-1, -1, 0, 1, 5, 5, 7, 2**31 - 1])
ANY_TIMEOUT = st.sampled_from([-(2**63), -(2**31) - 1, -(2**31), -1, 0, 5, 2**31 - 1, 2**31])
ENDINGS = st.sampled_from([("exited", 0), ("exited", 3), ("killed", 9), ("lost", 0)])
MOST_REPORTS = 12
REPORTS = st.sampled_from([None, b"", b"\0done", b"so much", b"more than there is room for"])
NO_TICKETS = ("00000000-0000-4000-8000-ffffffffffff", "ABCDEF00-0000-4000-8000-000000000000", "x", "", "-", "é" * 40)


class RulesMachine(RuleBasedStateMachine):
    """`make_subjects`: the implementations that are driven together."""

    make_subjects: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.rules: Any = Lockstep(self.make_subjects(CPUS))
        self.now = 0
        self.last_call = 0
        self.clonings: list[int] = []  # the hypervisor has not said how they went
        self.to_end: list[str] = []  # the hypervisor was told to end them
        self.masters: dict[str, str] = {}  # family -> master, of families there ever were
        self.barriers: dict[str, set[str]] = {}  # ticket -> members
        self.syncs: dict[int, tuple[str, str]] = {}  # open call -> (ticket, domain)
        self.seen_vmids: set[str] = set()
        self.line: list[str] = []  # pending tickets in the order of asking
        self.grants = True  # the hypervisor grants everything at once; else it is played by answer_reservation
        self.asked: list[tuple[Any, ...]] = []  # (call, domain, ticket, least, most, cpus_per_vm), one at most
        self.kept: set[str] = set()  # tickets that the hypervisor has granted, or put off, and hears of again
        self.state: State = self.rules.look()

    # --- choosing ----------------------------------------------------------------------------------------------------

    def domains(self) -> list[str]:
        return [domain for domain, *_ in self.state.domains]

    def a_domain(self, data: st.DataObject) -> str:
        """Mostly one that may call; sometimes one that is ending, or gone. One that is starting makes no calls."""
        states = {domain: state for domain, _, _, state, _ in self.state.domains}
        running = [domain for domain, state in states.items() if state == "running"]
        every = sorted(domain for domain in self.seen_vmids if states.get(domain) != "starting")
        pool = running if running and data.draw(st.integers(0, 9)) else every
        return data.draw(st.sampled_from(pool))

    def a_ticket(self, data: st.DataObject, caller: str, *statuses: str) -> str:
        """Mostly the caller's own, in one of these states if there is one; sometimes any, or none at all."""
        family, vmid = caller.split("/")
        kind = data.draw(st.integers(0, 9))
        if kind == 0:
            return data.draw(st.sampled_from(NO_TICKETS))
        mine = [t[1] for t in self.state.tickets if (t[0], str(t[6])) == (family, vmid)]
        fit = [t[1] for t in self.state.tickets if t[1] in mine and t[2] in statuses]
        pool = (fit if kind > 2 else []) or (mine if kind > 1 else []) or [t[1] for t in self.state.tickets]
        return data.draw(st.sampled_from(pool or NO_TICKETS))

    # --- what follows from each step ---------------------------------------------------------------------------------

    def did(self, step: Step) -> Step:
        before, self.state = self.state, self.rules.look()
        for kind, *rest in step.happened:
            if kind == "make":
                call, parent, clones = rest
                self.clonings.append(call)
                assert not self.seen_vmids & set(clones), "a vmid was used again"
                ticket = next(t for d, _, t, *_ in self.state.domains if d == clones[0])
                self.barriers[ticket] = {parent, *clones}
            elif kind == "end":
                self.to_end.append(rest[0])
        self.seen_vmids.update(self.domains())
        self.check_barriers(step)
        self.check_line(before, step)
        self.check_reservations(step)
        return step

    def check_barriers(self, step: Step) -> None:
        """No barrier passes before all its members have come, and all pass together."""
        passed: dict[str, set[str]] = {}
        for kind, call, *rest in step.happened:
            if kind in ("answer", "drop") and call in self.syncs:
                ticket, domain = self.syncs.pop(call)
                if kind == "answer" and rest[0] is None:
                    passed.setdefault(ticket, set()).add(domain)
        for ticket, members in passed.items():
            assert members == self.barriers[ticket], f"{members} passed the barrier of {self.barriers[ticket]}"

    def check_line(self, before: State, step: Step) -> None:
        """A domain that is granted a ticket was at the head of the line: nobody overtakes."""
        was_pending = [t[1] for t in before.tickets if t[2] == "pending"]
        for ticket in [t[1] for t in self.state.tickets]:
            if ticket not in self.line and ticket not in {t[1] for t in before.tickets}:
                self.line.append(ticket)  # a new one goes to the end
        still = {t[1]: t[2] for t in self.state.tickets}
        granted = [t for t in self.line if still.get(t) == "reserved"]
        waiting = [t for t in self.line if still.get(t) == "pending"]
        assert self.line.index(granted[-1]) < self.line.index(waiting[0]) if granted and waiting else True
        self.line = waiting
        assert all(t not in still or still[t] != "pending" or t in self.line for t in was_pending)

    def check_reservations(self, step: Step) -> None:
        """The hypervisor is asked about one ticket at a time, and hears of each end once."""
        asked = [*self.asked, *(tuple(rest) for kind, *rest in step.happened if kind == "reserve")]
        released = [rest[0] for kind, *rest in step.happened if kind == "release"]
        assert len(released) == len(set(released))
        assert set(released) <= self.kept | {ticket for _, _, ticket, *_ in asked}
        self.asked = [one for one in asked if one[2] not in released]
        self.kept -= set(released)
        assert len(self.asked) <= 1
        assert all(one[2] == self.line[0] for one in self.asked), "only the head of the line is asked about"

    def new_call(self) -> int:
        self.last_call += 1
        return self.last_call

    # --- the calls ---------------------------------------------------------------------------------------------------

    @initialize(grants=st.booleans())
    def first_family(self, grants: bool) -> None:
        self.grants = grants
        self.rules.grant_at_once(grants)
        self.adopt("")

    @precondition(lambda self: len(self.masters) < 4)
    @rule(on_exit=st.sampled_from(["", "", "end", "keep"]))
    def adopt(self, on_exit: str) -> None:
        master = self.did(self.rules.adopt(on_exit)).value
        self.masters[master.split("/")[0]] = master

    @rule(data=st.data(), maxcpus=st.integers(1, 8), minvms=SMALL, per=SMALL, timeout=TIMEOUTS)
    def request_ticket(self, data: st.DataObject, maxcpus: int, minvms: int, per: int, timeout: int) -> None:
        caller = self.a_domain(data)
        self.did(self.rules.request_ticket(self.new_call(), caller, maxcpus, minvms, per, timeout))

    @rule(data=st.data(), sizes=st.tuples(ANY_SIZE, ANY_SIZE, ANY_SIZE), timeout=ANY_TIMEOUT)
    def request_wrongly(self, data: st.DataObject, sizes: tuple[int, int, int], timeout: int) -> None:
        self.did(self.rules.request_ticket(self.new_call(), self.a_domain(data), *sizes, timeout))

    @rule(data=st.data())
    def release_ticket(self, data: st.DataObject) -> None:
        caller = self.a_domain(data)
        self.did(self.rules.release_ticket(caller, self.a_ticket(data, caller, "reserved", "pending")))

    @rule(data=st.data(), vmid=st.integers(-1, 6))
    def hand_over(self, data: st.DataObject, vmid: int) -> None:
        caller = self.a_domain(data)
        self.did(self.rules.hand_over(caller, self.a_ticket(data, caller, "reserved"), vmid))

    @rule(data=st.data())
    def forget_ticket(self, data: st.DataObject) -> None:
        caller = self.a_domain(data)
        self.did(self.rules.forget_ticket(caller, self.a_ticket(data, caller, "closed")))

    @rule(data=st.data())
    def look_around(self, data: st.DataObject) -> None:
        caller = self.a_domain(data)
        self.did(self.rules.list_tickets(caller))
        self.did(self.rules.list_domains(caller))
        self.did(self.rules.ticket_info(caller, self.a_ticket(data, caller)))

    @rule(data=st.data())
    def clone(self, data: st.DataObject) -> None:
        caller = self.a_domain(data)
        self.did(self.rules.clone(self.new_call(), caller, self.a_ticket(data, caller, "reserved")))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), kind=st.sampled_from(["granted", "granted", "granted", "refused", "later"]))
    def answer_reservation(self, data: st.DataObject, kind: str) -> None:
        call, _, ticket, least, most, _ = self.asked.pop()
        vms = data.draw(st.integers(least, most)) if kind == "granted" else 0
        if kind == "refused":
            self.kept.discard(ticket)
        else:
            self.kept.add(ticket)
        self.did(self.rules.reserved(call, kind, vms))
        if kind == "granted":
            assert next(t[2:5] for t in self.state.tickets if t[1] == ticket)[::2] == ("reserved", vms)

    @rule()
    def ask_again(self) -> None:
        self.did(self.rules.ask_again())

    @precondition(lambda self: self.last_call)
    @rule()
    def answer_too_late(self) -> None:
        """About a request that has gone, or was answered already: nothing happens."""
        if not any(call == self.last_call for call, *_ in self.asked):
            assert self.did(self.rules.reserved(self.last_call, "granted", 1)).happened == ()

    @precondition(lambda self: self.clonings)
    @rule(data=st.data(), outcome=st.sampled_from(["ok", "ok", "ok", "clone_failed", "not_supported"]))
    def finish_cloning(self, data: st.DataObject, outcome: str) -> None:
        call = data.draw(st.sampled_from(self.clonings))
        self.clonings.remove(call)
        self.did(self.rules.cloned(call) if outcome == "ok" else self.rules.clone_failed(call, outcome))

    @rule(data=st.data(), timeout=TIMEOUTS, born=st.booleans())
    def sync(self, data: st.DataObject, timeout: int, born: bool) -> None:
        caller = self.a_domain(data)
        ticket = "-" if born else self.a_ticket(data, caller, "active")
        self.sync_on(caller, ticket, timeout)

    @rule(data=st.data(), timeout=TIMEOUTS)
    def sync_all(self, data: st.DataObject, timeout: int) -> None:
        """All members of a barrier come, in any order."""
        active = [t[1] for t in self.state.tickets if t[2] == "active" and t[1] in self.barriers]
        if active:
            ticket = data.draw(st.sampled_from(active))
            for member in data.draw(st.permutations(sorted(self.barriers[ticket]))):
                self.sync_on(member, ticket, timeout)

    def sync_on(self, caller: str, ticket: str, timeout: int) -> None:
        call = self.new_call()
        born = {d: t for d, _, t, *_ in self.state.domains}
        self.syncs[call] = (born.get(caller, "") if ticket == "-" else ticket, caller)
        self.did(self.rules.sync(call, caller, ticket, timeout))

    @rule(data=st.data(), timeout=ANY_TIMEOUT)
    def wait(self, data: st.DataObject, timeout: int) -> None:
        caller = self.a_domain(data)
        self.did(self.rules.wait(self.new_call(), caller, self.a_ticket(data, caller, "active", "closed"), timeout))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        calls = [call for call, *_ in self.state.calls] or [0]
        call = data.draw(st.sampled_from([*calls, self.last_call]))
        self.syncs.pop(call, None)
        self.did(self.rules.cancel(call))

    # --- endings -----------------------------------------------------------------------------------------------------

    @rule(data=st.data(), report=REPORTS)
    def join(self, data: st.DataObject, report: bytes | None) -> None:
        caller = self.a_domain(data)
        if self.did(self.rules.join(caller, report)).code is None:
            self.to_end.append(caller)

    @rule(data=st.data(), vmid=st.one_of(st.integers(0, 6), ANY_SIZE))
    def kill(self, data: st.DataObject, vmid: int) -> None:
        self.did(self.rules.kill(self.a_domain(data), vmid))

    @rule(data=st.data(), vmid=st.integers(-1, 6), known=st.integers(0, 9))
    def kill_domain(self, data: st.DataObject, vmid: int, known: int) -> None:
        family = data.draw(st.sampled_from(sorted(self.masters))) if known else NO_TICKETS[0]
        self.did(self.rules.kill_domain(family, vmid))

    @precondition(lambda self: self.to_end)
    @rule(data=st.data(), ending=ENDINGS)
    def end_as_told(self, data: st.DataObject, ending: tuple[str, int]) -> None:
        domain = data.draw(st.sampled_from(self.to_end))
        self.to_end.remove(domain)
        self.did(self.rules.ended(domain, *ending))

    @rule(data=st.data(), ending=ENDINGS, clone=st.integers(0, 3))
    def end(self, data: st.DataObject, ending: tuple[str, int], clone: int) -> None:
        """By itself; mostly a clone, so that families live for a while."""
        clones = [d for d in self.domains() if not d.endswith("/0")]
        domain = data.draw(st.sampled_from(clones)) if clones and clone else self.a_domain(data)
        self.did(self.rules.ended(domain, *ending))

    @precondition(lambda self: any(d.endswith("/0") for d in self.domains()))
    @rule(data=st.data())
    def bye(self, data: st.DataObject) -> None:
        domain = data.draw(st.sampled_from(self.domains()))
        self.did(self.rules.bye(domain))

    @rule(ms=st.sampled_from([0, 1, 2, 5, 10, 2**31]))
    def advance(self, ms: int) -> None:
        self.now += ms
        self.did(self.rules.advance(self.now))

    # --- what must always hold ---------------------------------------------------------------------------------------

    @invariant()
    def cpus_are_conserved(self) -> None:
        masters_own = {t for d, _, t, *_ in self.state.domains if d.endswith("/0")}
        held = sum(t[3] for t in self.state.tickets if t[1] not in masters_own and t[2] != "closed")
        assert held + self.state.free == CPUS

    @invariant()
    def room_is_kept_for_what_was_granted(self) -> None:
        masters_own = {t for d, _, t, *_ in self.state.domains if d.endswith("/0")}
        held = {t[1] for t in self.state.tickets if t[2] in ("reserved", "cloning", "active")} - masters_own
        pending = {t[1] for t in self.state.tickets if t[2] == "pending"}
        assert self.grants or held == self.kept - pending

    @invariant()
    def tickets_are_whole(self) -> None:
        for _, ticket, status, cpus, vms, per, _ in self.state.tickets:
            assert (cpus == vms == 0) if status == "pending" else (cpus == vms * per > 0), ticket
        assert self.state.line == len(self.line) == sum(t[2] == "pending" for t in self.state.tickets)

    @invariant()
    def ids_are_unique(self) -> None:
        for names in ([t[1] for t in self.state.tickets], self.domains(), [call for call, *_ in self.state.calls]):
            assert len(names) == len(set(names))

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """A ticket is closed or has clones; a call is open for a domain that is there; no time is overdue."""
        counts = {t[1]: 0 for t in self.state.tickets}
        for _, _, ticket, *_ in self.state.domains:
            counts[ticket] += 1
        for _, ticket, status, _, vms, *_ in self.state.tickets:
            assert (1 <= counts[ticket] <= vms) if status in ("active", "cloning") else counts[ticket] == 0
        assert {domain for _, domain, _ in self.state.calls} <= set(self.domains())
        assert self.state.deadline is None or self.state.deadline > self.now

    def teardown(self) -> None:
        """Everything comes to an end, whatever happened before: clonings are done, then all domains end."""
        for call in list(self.clonings):
            self.did(self.rules.cloned(call))
        for domain in self.domains():
            self.did(self.rules.ended(domain, "lost", 0))
        assert self.state == State(CPUS, 0, 0, None, (), (), ()), "something is left over"
        assert not self.asked and not self.kept
