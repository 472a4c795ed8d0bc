"""The cases: loading them, checking them against the schema, and which of them apply to which language

and on which host. It must not know how a case is played.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from .hosts import REAL_HOSTS, VM_HOSTS

FOLDER = Path(__file__).resolve().parents[1]
LANGUAGES = ("wire", "c", "python", "aio", "node", "node_callback", "java", "shell")
# Where a program clones itself, and its clones come to the runner.
CLONABLE = ("c", "python", "aio", "node", "node_callback", "java")
SECOND_FORMS = ("aio", "node_callback")  # of a language
ONCE_A_LANGUAGE = ("c", "python", "node", "java", "shell")
NOT_IN_VMS = ("wire", "java")  # the machine that is booted has no JVM
DOERS = ("control", "finish", "abandon", "cancel", "kill", "exit", "crash", "gone", "host")  # besides actors
EXPECTATIONS = ("ok", "error", "text", "has", "hasnt")
DETAILS = (*EXPECTATIONS, "start", "status")  # words of a step that say how

# What of the fake hypervisor a case may need, as far as its control verbs tell.
NEEDED_BY: dict[str, Callable[[list[Any]], bool]] = {
    "fake clock": lambda verb: verb[0] == "latency" or (verb[0] == "advance" and verb[1] > 0),
    "scripted faults": lambda verb: verb[0] == "fault",
    "scripted ends": lambda verb: verb[0] == "end" and verb[3] == "lost",
}


def is_actor(word: str) -> bool:
    return word not in DOERS and word not in DETAILS


@dataclass(frozen=True)
class Case:
    group: str
    name: str
    steps: list[dict[str, Any]]
    only: dict[str, str] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)  # of the fake hypervisor
    hypervisor: str = "any"  # or process, or real: where clones are real
    representative: bool = False  # played in VMs also where there is little time
    env: dict[str, dict[str, str]] = field(default_factory=dict)
    about: str = ""
    must_fail_with: str = ""

    @property
    def id(self) -> str:
        return f"{self.group}/{self.name}"

    def applies_to(self, language: str) -> bool:
        return language not in self.not_applicable and (not self.only or language in self.only)

    def applies_on(self, host: str, language: str) -> bool:
        """Where clones are real, what needs the fake is not played. Without clones in it a case has little to do with the
        hypervisor: it is played in one mode only, and not in second forms of a language."""
        if not self.applies_to(language):
            return False
        if host not in REAL_HOSTS:
            return self.hypervisor == "any"
        if self.needs:
            return False
        if host in VM_HOSTS:
            if self.hypervisor == "process" or self.not_in_vms or language in NOT_IN_VMS:
                return False
            return language in (*CLONABLE, "shell") if self.clones else language in ONCE_A_LANGUAGE
        return language in CLONABLE if self.clones else host == REAL_HOSTS[0] and language in ONCE_A_LANGUAGE

    @property
    def not_in_vms(self) -> str:
        """What it needs that VMs have not; or nothing."""
        if any("host" in step for step in self.steps):
            return "guests that outlive their host"
        return "programs in no domain" if "stranger" in self.actors else ""

    @property
    def clones(self) -> bool:
        """Does it make clones, all being well?"""
        steps = [step for step in self.steps if "error" not in step]
        return any(value[0] in ("clone", "clone_of") for step in steps for word, value in step.items() if is_actor(word))

    @property
    def outcomes(self) -> set[tuple[str, str]]:
        """Each call it makes, with the error that is expected or ""."""
        started = {
            step["start"]: value[0] for step in self.steps if "start" in step for word, value in step.items() if is_actor(word)
        }
        made = {(value[0], step.get("error", "")) for step in self.steps for word, value in step.items() if is_actor(word)}
        return made | {(started[step["finish"]], step.get("error", "")) for step in self.steps if "finish" in step}

    @property
    def actors(self) -> list[str]:
        """All who do something, in the order of their first step; masters first, as clones need a family."""
        names = {word: None for step in self.steps for word in step if is_actor(word)}
        if any(name.startswith("clone") for name in names):
            names = {"master": None} | names
        if any(name.startswith("other_clone") for name in names):
            names = names | {"other": None}
        return sorted(names, key=lambda name: "clone" in name)


def one_of_each(cases: list[Case]) -> list[Case]:
    """Of these cases, enough to see each call with each outcome: a value, or an error of one kind."""
    seen: set[tuple[str, str]] = set()
    chosen = []
    for case in cases:
        more = case.outcomes - seen
        if more:
            seen |= more
            chosen.append(case)
    return chosen


def load(folder: str = "cases") -> list[Case]:
    """All cases of a folder; raises jsonschema.ValidationError or ValueError for a file that is wrong."""
    schema = json.loads((FOLDER / "schema.json").read_text())
    cases: list[Case] = []
    for path in sorted((FOLDER / folder).glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        try:
            jsonschema.validate(content, schema)
        except jsonschema.ValidationError as error:
            raise ValueError(f"{path.name}: {error.json_path}: {error.message}") from None
        for case in content["cases"]:
            made = Case(group=content["group"], **case)
            check(made)
            cases.append(made)
    ids = [case.id for case in cases]
    twice = {name for name in ids if ids.count(name) > 1}
    if twice:
        raise ValueError(f"cases of the same name: {', '.join(sorted(twice))}")
    return cases


def check(case: Case) -> None:
    """What the schema cannot say: exactly one doer a step, and every started call is finished or abandoned."""
    started: list[str] = []
    ended: list[str] = []
    for number, step in enumerate(case.steps, 1):
        doers = [word for word in step if is_actor(word) or word in DOERS]
        if len(doers) != 1:
            raise ValueError(f"{case.id} step {number}: one of an actor or {', '.join(DOERS)}; there are {doers}")
        if "start" in step:
            started.append(step["start"])
        ended += [step[word] for word in ("finish", "abandon") if word in step]
    for need, verbs in NEEDED_BY.items():
        used = [step["control"] for step in case.steps if "control" in step and verbs(step["control"])]
        if bool(used) != (need in case.needs):
            raise ValueError(f"{case.id}: needs: {need} is {'missing' if used else 'there'}, but the steps have {used}")
    if case.hypervisor == "any" and any("gone" in step or "inherited" in str(step) for step in case.steps):
        raise ValueError(f"{case.id}: only real clones inherit calls or go: hypervisor: real or process is missing")
    to_host = [step["host"] for step in case.steps if "host" in step]
    if "freeze" in to_host and to_host != ["freeze", "kill"]:
        raise ValueError(f"{case.id}: a host that is frozen must be killed: {to_host}")
    if sorted(started) != sorted(ended):
        raise ValueError(f"{case.id}: started {sorted(started)}, but finished or abandoned {sorted(ended)}")
