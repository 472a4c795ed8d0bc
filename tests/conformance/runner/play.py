"""Playing one case: actors are started, steps are done in order, results compared, leftovers looked for.

It must not know how a host is started or how an actor of a language is made: both are handed in.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from .actors import Actor, Caller, Ended, Hung
from .cases import DETAILS, Case, is_actor
from .hosts import Host
from .wire import Closed, Refused

MakeActor = Callable[[str, bool, dict[str, str]], Actor]  # name, is it a clone, environment


class Failure(Exception):
    """The case does not hold; the message says in which step and how."""


class Play:
    """One playing of one case. Use play()."""

    def __init__(self, case: Case, host: Host, make_actor: MakeActor) -> None:
        """`host` runs the fake hypervisor: clones are entries in its books, played by processes that attach as them."""
        self.case = case
        self.host = host
        self.make_actor = make_actor
        self.actors: dict[str, Caller] = {}
        self.names: dict[str, Any] = {}  # what $name stands for
        self.started: dict[str, tuple[str, str, int]] = {}  # name -> actor, verb, call
        self.host_killed = False
        self.gone: set[str] = set()  # actors that have ended as the case wanted

    def run(self) -> None:
        where = "setup"
        try:
            self.set_up()
            for number, step in enumerate(self.case.steps, 1):
                where = f"step {number} {show(step)}"
                self.step(step)
            where = "at the end"
            self.look_for_leftovers()
        except (Failure, Ended, Hung, Closed, Refused) as error:
            raise Failure(f"{self.case.id}: {where}: {error}") from error
        finally:
            for actor in self.actors.values():
                actor.close()

    # Actors

    def set_up(self) -> None:
        """Start all processes. Masters one by one, so that the order of families is known: some attach as they start."""
        for name in sorted(self.case.actors, key=lambda name: "clone" not in name):
            env = self.host.guest_environment | self.case.env.get(name, {})
            self.actors[name] = self.make_actor(name, "clone" in name, env)
            if "clone" not in name and name != "stranger":
                self.found_family(name)

    def found_family(self, name: str) -> None:
        """The actor becomes the master of a family, which gets a name."""
        known = {self.names[key] for key in self.names if key.endswith(".family")}
        self.reply_of(name, self.actors[name].start("attach", ""), "attach")
        born = {row[0] for row in self.host.command("domains")} - known
        if len(born) != 1:
            raise Failure(f"{name} attached and there are {len(born)} new families: {born}")
        self.names[f"{name}.family"] = born.pop()

    def attached(self, name: str) -> Caller:
        """The actor; a clone attaches at its first step, when it has been born."""
        actor = self.actors[name]
        if "clone" in name and f"{name}.attached" not in self.names:
            self.names[f"{name}.attached"] = True
            owner, vmid = ("other" if name.startswith("other") else "master"), name.rpartition("clone")[2]
            family = self.names[f"{owner}.family"]
            self.reply_of(name, actor.start("attach", f"{family}/{vmid}"), "attach")
        return actor

    def reply_of(self, name: str, call: int, verb: str) -> Any:
        """The value of a call; raises Refused. A join that works has no reply: the domain ends."""
        try:
            reply = self.actors[name].reply(call)
        except Ended:
            if verb not in ("join", "noreport") or name in self.gone:
                raise
            self.has_joined(name, verb)
            return None
        if "error" in reply:
            raise Refused(reply["error"], reply.get("text", ""))
        return reply["ok"]

    def process(self, name: str) -> Actor:
        actor = self.actors[name]
        assert isinstance(actor, Actor), f"{name} is not a process of the runner"
        return actor

    def has_joined(self, name: str, verb: str) -> None:
        """Its program has ended with its domain."""
        status = self.process(name).wait_end()
        if status != 0:
            raise Failure(f"{name} ended with status {status} instead of 0 after {verb}")
        self.gone.add(name)

    # Steps

    def step(self, step: dict[str, Any]) -> None:
        doer = next(word for word in step if word not in DETAILS)
        what = step[doer]
        if is_actor(doer):
            verb, *args = what
            call = self.begin(doer, verb, [self.value(arg) for arg in args])
            if "start" in step:
                self.started[step["start"]] = (doer, verb, call)
            else:
                self.expect(step, lambda: self.reply_of(doer, call, verb))
        elif doer == "control":
            self.expect(step, lambda: self.control(what))
        elif doer == "finish":
            name, verb, call = self.started.pop(what)
            self.expect(step, lambda: self.reply_of(name, call, verb))
        elif doer == "abandon":
            self.started.pop(what)
        elif doer == "cancel":
            name, _, call = self.started[what]
            self.expect(step, lambda: self.reply_of(name, self.actors[name].start("cancel", call), "cancel"))
        elif doer == "kill":
            self.kill(what)
        elif doer == "exit" and "status" in step:
            self.fail(what, "exit", step["status"])
        elif doer == "exit":
            self.end_normally(what)
        elif doer == "crash":
            self.fail(what, "crash")
        elif doer == "host":
            self.host_killed = True  # or is about to be: check() lets nothing else follow a frozen one
            self.host.freeze() if what == "freeze" else self.host.kill()

    def begin(self, doer: str, verb: str, args: list[Any]) -> int:
        return self.attached(doer).start(verb, *args)

    def control(self, what: list[Any]) -> Any:
        """A control verb; numbers become numbers, one field stands for itself."""
        result = self.host.command(*(self.value(word) for word in what))
        rows = [[number(field) for field in row] if isinstance(row, list) else number(row) for row in result]
        if what[0] in ("dump", "domains"):
            return rows
        return rows[0] if len(rows) == 1 else rows or None

    def kill(self, name: str) -> None:
        self.process(name).kill()
        self.gone.add(name)

    def end_normally(self, name: str) -> None:
        self.exit_normally(name)
        left = self.process(name).left_over()
        if left:
            raise Failure(f"{name} left processes behind: {left}")

    def fail(self, name: str, verb: str, *args: int) -> None:
        """The program ends in the way that is told, and not with success."""
        self.begin(name, verb, list(args))
        status = self.process(name).wait_end()
        self.gone.add(name)
        if status != args[0] if args else status == 0:
            raise Failure(f"{name} ended with status {status} after {verb} {args}")

    def exit_normally(self, name: str) -> None:
        self.actors[name].end_input()
        status = self.process(name).wait_end()
        self.gone.add(name)
        if status != 0:
            raise Failure(f"{name} ended with status {status} instead of 0")

    # Results

    def expect(self, step: dict[str, Any], get: Callable[[], Any]) -> None:
        try:
            result = get()
        except Refused as refused:
            if "error" not in step:
                raise Failure(f"failed with {refused}") from None
            if refused.code != step["error"]:
                raise Failure(f"failed with {refused}; expected {step['error']}") from None
            for part in step.get("text", []):
                wanted = str(self.value(part))
                if wanted not in refused.text:
                    raise Failure(f"the text of the error does not say {wanted!r}: {refused.text!r}") from None
            return
        if "error" in step:
            raise Failure(f"gave {show(result)}; expected the error {step['error']}")
        if "ok" in step and not self.matches(step["ok"], result):
            raise Failure(f"gave {show(result)}; expected {show(self.value(step['ok'], lenient=True))}")
        for item in step.get("has", []):
            if not any(self.matches(item, row) for row in result):
                raise Failure(f"gave {show(result)}, without {show(self.value(item, lenient=True))}")
        for item in step.get("hasnt", []):
            if any(self.matches(item, row) for row in result):
                raise Failure(f"gave {show(result)}, with {show(self.value(item, lenient=True))}")

    def matches(self, expected: Any, got: Any) -> bool:
        """Equal, with "*" for anything and a new $name that takes what is there."""
        if isinstance(expected, str) and expected.startswith("$") and expected[1:] not in self.names:
            self.names[expected[1:]] = got
            return True
        expected = self.value(expected, lenient=True)
        if isinstance(expected, list):
            same_shape = isinstance(got, list) and len(got) == len(expected)
            return same_shape and all(self.matches(e, g) for e, g in zip(expected, got))
        if isinstance(expected, str) and isinstance(got, str) and "*" in expected:
            return re.fullmatch(".*".join(map(re.escape, expected.split("*"))), got, re.DOTALL) is not None
        return expected == "*" or (type(expected) is type(got) and bool(expected == got))

    def value(self, word: Any, lenient: bool = False) -> Any:
        """What a word of a case stands for: $names, and reports as base64 of {text|hex|zeros}."""
        if isinstance(word, str) and word.startswith("$"):
            if word[1:] not in self.names and not lenient:
                raise Failure(f"{word} is not known yet")
            return self.names.get(word[1:], word)
        if isinstance(word, dict):
            (kind, content), *more = word.items()
            if more:
                raise Failure(f"{show(word)}: one of text, hex, zeros, repeat, line, calls, float")
            if kind == "float":
                return word
            if kind == "repeat":
                return content[0] * content[1]
            if kind == "line":
                return " ".join(str(self.value(part)) for part in content)
            if kind == "calls":
                return "\n".join(f"{number} {content[1]}" for number in range(1, content[0] + 1))
            data = {"text": str.encode, "hex": bytes.fromhex, "zeros": bytes}[kind](content)  # type: ignore[operator]
            return base64.b64encode(data).decode()
        if isinstance(word, list):
            return [self.value(part, lenient) for part in word]
        return word

    # Leftovers

    def look_for_leftovers(self) -> None:
        """End what still lives; then no domain, ticket, call, CPU, process or descriptor may be left."""
        if not self.host_killed:
            self.host.command("advance", 0)  # so that what actors have closed is closed in the host
            self.no_call_is_open()
            for family in {row[0]: None for row in self.host.command("domains")}:
                self.end_family(family)
            self.host.command("advance", 0)
            dump = self.host.command("dump")
            cpus, queue = dump[0], dump[1]
            if cpus[1] != cpus[2] or queue != ["queue", "0"] or len(dump) != 2:
                raise Failure(f"left in the ledger: {dump}")
        still_there = [name for name in self.actors if name not in self.gone]
        for name in still_there:
            self.actors[name].end_input()  # all at once: ending takes time in some languages
        for name in still_there:
            self.end_normally(name)

    def no_call_is_open(self) -> None:
        families = {self.names[name]: name.removesuffix(".family") for name in self.names if name.endswith(".family")}
        for kind, *row in self.host.command("dump"):
            if kind == "call":
                raise Failure(f"{families.get(row[0], row[0])}.{row[2]} was left open (vmid {row[1]})")

    def end_family(self, family: str) -> None:
        """The master is killed and takes its clones along; those who outlived it end one by one."""
        for row in self.host.command("domains"):
            if row[0] == family:
                try:
                    self.host.command("end", family, row[1], "killed", 9)
                except Refused as refused:
                    if refused.code != "no_such_domain":  # the master has taken it along
                        raise


def number(field: str) -> Any:
    return int(field) if re.fullmatch(r"-?\d{1,19}", field) else field


def show(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 400 else f"{text[:200]}...{text[-100:]} ({len(text)} characters)"
