"""Playing one case where clones are real: processes that the hypervisor has made of an actor by live clone.

What is different from play.py: a clone is not started by the runner, it comes by itself, over its own connection;
ends are brought about in processes, not in the host's books; and they are noticed in their own time, so that what the
control channel must show is waited for. It must not know how a hypervisor makes clones.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .actors import Actor, Caller, Ended, Hung
from .cases import Case
from .hosts import Host, wait_until
from .play import Failure, MakeActor, Play
from .wire import HANG_GUARD_S, Connection, Refused


class Clone(Caller):
    """A clone of an actor. Its first words are the answers that the clone owes to the calls its master had open."""

    def __init__(self, name: str, connection: socket.socket, master: Caller) -> None:
        super().__init__(name, last_id=master.last_id)
        self.talk_over(connection)


class RealPlay(Play):
    def __init__(self, case: Case, host: Host, make_actor: MakeActor, can_clone: bool) -> None:
        """can_clone: does the adapter connect to the runner, and each of its clones (a shell can't)?"""
        super().__init__(case, host, make_actor)
        self.can_clone = can_clone
        self.listeners: dict[str, socket.socket] = {}  # where a family connects, by its master's name
        self.met: set[tuple[str, int]] = set()  # (family, vmid) of clones that have come
        self.said_bye: set[str] = set()  # families

    def run(self) -> None:
        try:
            super().run()
        finally:
            for listener in self.listeners.values():
                Path(listener.getsockname()).unlink()
                listener.close()

    # Actors

    def set_up(self) -> None:
        for name in (name for name in self.case.actors if "clone" not in name):
            env = self.host.guest_environment | self.case.env.get(name, {})
            if self.can_clone:
                self.listeners[name] = listener = socket.socket(socket.AF_UNIX)
                listener.settimeout(HANG_GUARD_S)
                listener.bind(f"{self.host.folder}/{name}.sock")
                listener.listen()
                env["CONFORMANCE_CHANNEL"] = listener.getsockname()
            self.actors[name] = actor = self.make_actor(name, False, env)
            if self.can_clone:
                actor.talk_over(self.accept(name))
                self.reply_of(name, 0, "hello")
            if name != "stranger":
                self.found_family(name)

    def accept(self, name: str) -> socket.socket:
        try:
            return self.listeners[name].accept()[0]
        except TimeoutError:
            raise Ended(f"nobody of {name}'s family connects{self.process(name).why()}") from None

    def attached(self, name: str) -> Caller:
        if name not in self.actors:
            raise Failure(f"{name} has not been born")
        return self.actors[name]

    def reply_of(self, name: str, call: int, verb: str) -> Any:
        result = super().reply_of(name, call, verb)
        if verb == "clone":
            self.meet_clones(name, call)
        if verb == "clone_of" and result:
            parent = result[0][1]
            self.meet_clones(f"clone{parent}" if parent else "master", None)
        return result

    def meet_clones(self, parent: str, call: int | None) -> None:
        """All clones that have been born come by themselves and answer the call that made them, if it was theirs, with their
        vmid."""
        owner = "other" if parent.startswith("other") else parent if parent == "third" else "master"
        family = self.names[f"{owner}.family"]
        born = {int(vmid) for of, vmid, *_ in self.host.command("domains") if of == family and vmid != "0"}
        new = {vmid for vmid in born if (family, vmid) not in self.met}
        for _ in range(len(new)):
            clone = Clone(f"a clone of {parent}", self.accept(owner), self.actors[parent])
            vmid = clone.reply(0)["ok"]
            if vmid not in new:
                raise Failure(f"vmid {vmid} has connected, expected one of {sorted(new)}")
            new.remove(vmid)
            self.met.add((family, vmid))
            clone.name = f"clone{vmid}" if owner == "master" else f"{owner}_clone{vmid}"
            self.actors[clone.name] = clone
            told = clone.reply(call) if call is not None else {"ok": vmid}
            if told != {"ok": vmid}:
                raise Failure(f"clone() gave {told} in the clone {vmid}")

    def has_joined(self, name: str, verb: str) -> None:
        self.gone.add(name)
        family, vmid = self.domain(name)
        self.until_gone(family, vmid, f"{name} has ended after {verb}")

    def domain(self, name: str) -> tuple[str, int]:
        owner, is_clone, vmid = name.rpartition("clone")
        if not is_clone:
            return self.names[f"{name}.family"], 0
        return self.names[f"{owner.rstrip('_') or 'master'}.family"], int(vmid)

    def actor_of(self, family: str, vmid: int) -> str:
        return next(name for name in self.actors if name != "stranger" and self.domain(name) == (family, vmid))

    def until_gone(self, family: str, vmid: int, what: str) -> None:
        """Until the host has noticed."""
        self.until(lambda: [family, str(vmid)] not in [row[:2] for row in self.host.command("domains")], what)

    # Steps

    def step(self, step: dict[str, Any]) -> None:
        if "gone" in step:
            self.wait_gone(step["gone"])
        elif step.get("control", [""])[0] in ("dump", "domains"):
            self.expect_in_time(step)
        else:
            super().step(step)
            for name in self.actors:
                if step.get(name, [""])[0] == "kill" and "error" not in step and "start" not in step:
                    family, vmid = self.domain(name)[0], self.value(step[name][1])
                    self.until_gone(family, vmid, f"vmid {vmid} has been killed")

    def begin(self, doer: str, verb: str, args: list[Any]) -> int:
        """Besides calls: inherited NAME, what a clone gets for the call NAME that its master had open."""
        if verb == "inherited":
            return self.started[args[0]][2]
        return super().begin(doer, verb, args)

    def expect_in_time(self, step: dict[str, Any]) -> None:
        """What the host must come to know by itself: the expectation holds at last."""
        names = self.names

        def holds() -> bool:
            self.names = dict(names)  # those that the last try has bound are forgotten
            try:
                super(RealPlay, self).step(step)
            except Failure as failure:
                self.last_failure = failure
                return False
            return True

        if not wait_until(holds):
            raise self.last_failure

    def control(self, what: list[Any]) -> Any:
        verb, *words = what
        args = [self.value(word) for word in words]
        if verb == "advance":  # by 0, or the case needs a fake clock
            return None
        if verb == "bye":
            return self.said_bye.add(args[0])
        return self.end(*args) if verb == "end" else super().control(what)

    def end(self, family: str, vmid: int, how: str, status: int) -> None:
        """A domain ends by itself: it exits, or a signal strikes it."""
        name = self.actor_of(family, vmid)
        if how == "killed":
            self.strike(family, vmid, status)
        elif vmid == 0 and family in self.said_bye:
            self.exit_normally(name)
        else:
            self.actors[name].start("exit", status)
        if vmid == 0 and how == "killed":
            self.process(name).wait_end()
        self.gone.add(name)
        self.until_gone(family, vmid, f"{name} has {how} with {status}")

    def strike(self, family: str, vmid: int, number: int) -> None:
        """A signal comes over the domain's program."""
        os.kill(self.pid_of(family, vmid), number)

    def pid_of(self, family: str, vmid: int) -> int:
        with Connection(self.host.socket, "observe") as observer:
            rows = observer.call("list_all")[0]
        return next(int(row[6]) for row in rows if row[:2] == [family, str(vmid)])

    def kill(self, name: str) -> None:
        """The process alone: what becomes of its clones is the host's business."""
        self.process(name).kill(group=False)
        self.gone.add(name)

    def wait_gone(self, name: str) -> None:
        """The domain ends, whoever brings it about: its connection does."""
        try:
            while True:
                self.actors[name].reply(-1)
        except Ended:
            self.gone.add(name)

    def end_normally(self, name: str) -> None:
        self.exit_normally(name)  # its clones may live on: what is left is looked for at the end

    def until(self, holds: Callable[[], bool], what: str) -> None:
        if not wait_until(holds):
            raise Hung(f"waited {HANG_GUARD_S:.0f} s until {what}")

    # Leftovers

    def look_for_leftovers(self) -> None:
        if not self.host_killed:
            self.no_call_is_open()
            with Connection(self.host.socket, "observe") as observer:
                for family, vmid, *_ in self.host.command("domains"):
                    with contextlib.suppress(Refused):  # it has just ended by itself
                        if vmid != "0":
                            observer.call("kill_domain", family, vmid)
        masters = [name for name, actor in self.actors.items() if isinstance(actor, Actor)]
        for name in (name for name in masters if name not in self.gone):
            self.exit_normally(name)
        if not self.host_killed:
            free = [["cpus", "8", "8"], ["queue", "0"]]
            self.until(lambda: self.host.command("dump") == free, "nothing is left in the ledger")
        self.until(lambda: not any(self.process(name).left_over() for name in masters), "no process is left")
