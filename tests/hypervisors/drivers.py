"""The drivers under test: how a host with each is started, and how the domains of each are told what to do.

Every driver gives the same Domain face, so that test_contract.py is the same for all. A new driver is a class here.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Optional, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))
from runner.actors import Actor
from runner.hosts import Host, gc_binary
from runner.languages import c_program, make_actor
from runner.wire import HANG_GUARD_S, Refused
from vm_driver import OnCluster, Vm


class Domain(Protocol):
    """A domain that does what it is told."""

    vmid: int
    ip: str

    def do(self, verb: str, *args: object) -> list[str]:
        """request VMS, release UUID, wait UUID, domains, kill VMID: the words of the answer. obstruct: the next cloning
        will fail; clear: it will not. remember WORD, recall: where memory is inherited. Raises Refused."""

    def clone(self, ticket: str, vms: int) -> list[Domain]:
        """Clone itself; its clones by vmid. Raises Refused."""

    def begin_clone(self, ticket: str) -> None:
        """Ask to be cloned and wait for nothing."""

    def end(self, how: str, what: int | str) -> None:
        """join WORD, exit STATUS or signal NUMBER; returns when the domain has gone."""

    def vanish(self) -> None:
        """A master is killed from outside; returns when it has gone."""

    def wait_gone(self) -> None: ...


class FakeDomain:
    """A domain of the fake: its guest speaks the protocol, its end is said on the control channel."""

    def __init__(self, driver: Fake, actor: Actor, family: str) -> None:
        self.driver, self.actor, self.family = driver, actor, family
        self.vmid = int(self._call("vmid"))
        self.ip = str(self._call("my_ip"))

    def _call(self, call: str, *args: object) -> object:
        reply = self.actor.reply(self.actor.start(call, *args))
        if "error" in reply:
            raise Refused(reply["error"], reply["text"])
        return reply["ok"]

    def do(self, verb: str, *args: object) -> list[str]:
        if verb == "request":
            return [str(self._call("request_ticket", args[0], args[0], 1, -1))]
        if verb == "wait":
            rows = self._call("wait", args[0], -1)
            return [f"{vmid},{how},{status},{plain(report)}" for vmid, how, status, report in rows]  # type: ignore[attr-defined]
        if verb == "domains":
            rows = self._call("list_domains")
            return [f"{r[0]},{-1 if r[1] is None else r[1]},{r[2]}" for r in rows]  # type: ignore[attr-defined]
        if verb == "obstruct":
            self.driver.host.command("fault", "clone_fails", 2, "told", "to", "fail")
        elif verb == "release":
            self._call("release_ticket", *args)
        elif verb != "clear":  # the fault is gone with the cloning that it has struck
            self._call(verb, *args)
        return []

    def clone(self, ticket: str, vms: int) -> list[Domain]:
        self._call("clone", ticket)
        born = [row for row in self.driver.host.command("domains") if row[0] == self.family and row[4] == ticket]
        return [self.driver.clone_of(self.family, int(row[1])) for row in born]

    def begin_clone(self, ticket: str) -> None:
        self.driver.host.command("latency", "clone", 1000)
        self.actor.start("clone", ticket)
        self.driver.host.command("await", "clone", 1)

    def end(self, how: str, what: int | str) -> None:
        if how == "join":
            self.actor.start("join", base64.b64encode(str(what).encode()).decode())
            assert self.actor.wait_end() == 0
        else:
            self.driver.host.command("end", self.family, self.vmid, {"exit": "exited", "signal": "killed"}[how], what)

    def vanish(self) -> None:
        self.driver.host.command("end", self.family, self.vmid, "killed", 9)
        self.actor.kill()

    def wait_gone(self) -> None:
        rows = self.driver.host.command("domains")
        assert [self.family, str(self.vmid)] not in [row[:2] for row in rows]


def plain(report: str | None) -> str:
    return "-" if report is None else base64.b64decode(report).decode()


class Fake:
    name = "fake"
    real = False  # its domains have no memory and need no host to end
    mortal = False  # its host can be killed, and so are its domains then

    def __init__(self) -> None:
        self.host = Host("core")
        self.make = make_actor("wire")
        self.actors: list[Actor] = []

    def _actor(self, name: str, attach: str) -> Actor:
        actor = self.make(name, bool(attach), {"GRIDCENTRIC_HOST": self.host.address})
        self.actors.append(actor)
        actor.reply(actor.start("attach", attach))
        return actor

    def master(self) -> Domain:
        known = {row[0] for row in self.host.command("domains")}
        actor = self._actor("master", "")
        (family,) = {row[0] for row in self.host.command("domains")} - known
        return FakeDomain(self, actor, family)

    def clone_of(self, family: str, vmid: int) -> Domain:
        return FakeDomain(self, self._actor(f"clone{vmid}", f"{family}/{vmid}"), family)

    def let_time_pass(self) -> None:
        self.host.command("advance", 10_000)

    def stop(self) -> None:
        for actor in self.actors:
            actor.close()
        self.host.stop()


class Stillborn(Exception):
    """A domain was killed before it could say hello."""


class RealDomain:
    """A domain that is a separate process: it has connected to the test and is told over that connection."""

    def __init__(self, driver: Process, connection: socket.socket) -> None:
        self.driver, self._connection = driver, connection
        self.process: Optional[subprocess.Popen[bytes]] = None
        connection.settimeout(HANG_GUARD_S)
        self._lines = connection.makefile("r")
        hello = self._lines.readline().split()
        if not hello:
            raise Stillborn
        self.vmid, self.ip = int(hello[1]), hello[2]

    def _say(self, *words: object) -> None:
        self._connection.sendall((" ".join(map(str, words)) + "\n").encode())

    def do(self, verb: str, *args: object) -> list[str]:
        self._say(verb, *args)
        kind, *words = self._lines.readline().split() or ["gone"]
        if kind == "error":
            raise Refused(words[0], " ".join(words[1:]))
        assert kind == "ok", f"vmid {self.vmid}: {kind}"
        return words

    def clone(self, ticket: str, vms: int) -> list[Domain]:
        self.do("clone", ticket)
        return sorted((self.driver.accept() for _ in range(vms)), key=lambda domain: domain.vmid)

    def begin_clone(self, ticket: str) -> None:
        self._say("clone", ticket)

    def end(self, how: str, what: int | str) -> None:
        self._say(how, what)
        self.wait_gone()

    def vanish(self) -> None:
        assert self.process, "only masters are children of the test"
        self.process.kill()
        self.process.wait()
        self.wait_gone()

    def wait_gone(self) -> None:
        """Its end of the connection closes when the last of its threads has gone."""
        try:
            while self._lines.readline():
                pass
        except ConnectionError:
            pass


class Process:
    name = "process"
    real = mortal = True

    def __init__(self) -> None:
        self.program = c_program("domain", Path(__file__).parent)
        self.host = Host("process", command=[gc_binary(), "host", "--hypervisor", "process"], control=False)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(HANG_GUARD_S)
        self.folder = tempfile.mkdtemp(prefix="domain-test-")  # not the host's: gc looks for hosts there
        self.listener.bind(f"{self.folder}/test.sock")
        self.listener.listen(128)
        self.masters: list[subprocess.Popen[bytes]] = []

    def accept(self) -> RealDomain:
        return RealDomain(self, self.listener.accept()[0])

    def master(self) -> Domain:
        env = os.environ | {"GRIDCENTRIC_HOST": self.host.address, "DOMAIN_TEST": self.listener.getsockname()}
        self.masters.append(subprocess.Popen([self.program], env=env, stdin=subprocess.DEVNULL))
        while True:  # clones of a master that was killed meanwhile may have come first
            try:
                domain = self.accept()
            except Stillborn:
                continue
            if domain.vmid == 0:
                domain.process = self.masters[-1]
                return domain

    def let_time_pass(self) -> None:
        """Real clones are made in real time."""

    def stop(self) -> None:
        try:
            if self.host.process.poll() is None:
                self.host.stop()
        finally:
            self.host.close()  # what is left when a test has killed it
            for master in self.masters:
                master.kill()
                master.wait()
            self.listener.close()
            shutil.rmtree(self.folder)


DRIVERS = {"fake": Fake, "process": Process, "qemu": Vm, "ray": OnCluster}
