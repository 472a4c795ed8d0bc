"""One host's rules for the tests that go through them one by one; with the C++ rules in step where they are built."""

from __future__ import annotations

import importlib.util
from typing import Any, Optional

from subjects import Cpp, Lockstep, Reference

from gridcentric.reference.registry import MAX_REPORTS

CPUS = 8
UNKNOWN = "00000000-0000-4000-8000-ffffffffffff"
HAVE_CPP = importlib.util.find_spec("gridcentric._model") is not None


class World:
    """One family (f1) and shorthands. Answers of calls that wait are kept by call."""

    def __init__(self, most_reports: int = MAX_REPORTS) -> None:
        subjects = [Reference, *([Cpp] if HAVE_CPP else [])]
        self.rules: Any = Lockstep([subject(CPUS, most_reports) for subject in subjects])
        self.answers: dict[int, tuple[Any, ...]] = {}  # call -> (code, ticket, results)
        self.ending: list[str] = []
        self.calls = 0
        self.now = 0
        self.do("adopt", "")

    def do(self, verb: str, *arguments: Any) -> Any:
        """A step; its refusal, or its value."""
        step = getattr(self.rules, verb)(*arguments)
        for kind, *rest in step.happened:
            if kind == "answer":
                self.answers[rest[0]] = tuple(rest[1:])
            elif kind == "end":
                self.ending.append(rest[0])
            else:
                self.happened(kind, rest)
        return step.code or step.value

    def happened(self, kind: str, what: list[Any]) -> None:
        """Anything else that a step made happen."""

    def ask(self, verb: str, *arguments: Any) -> int:
        """A call that waits: its number."""
        self.calls += 1
        self.do(verb, self.calls, *arguments)
        return self.calls

    def code(self, call: int) -> Optional[str]:
        """ "open", None (succeeded) or the refusal."""
        return self.answers[call][0] if call in self.answers else "open"

    def ticket(self, domain: str, vms: int) -> str:
        return str(self.answers[self.ask("request_ticket", domain, vms, vms, 1, 0)][1])

    def clones(self, domain: str, vms: int) -> str:
        """A ticket with that many clones."""
        ticket = self.ticket(domain, vms)
        call = self.ask("clone", domain, ticket)
        self.do("cloned", call)
        assert self.code(call) is None
        return ticket

    def advance(self, ms: int) -> None:
        self.now += ms
        self.do("advance", self.now)

    def end(self, *domains: str) -> None:
        for domain in domains:
            self.do("ended", domain, "exited", 0)

    def status(self, ticket: str) -> Optional[str]:
        return next((t[2] for t in self.rules.look().tickets if t[1] == ticket), None)

    @property
    def free(self) -> int:
        return int(self.rules.look().free)
