"""The hypervisors of VMs, qemu and ray, as drivers under test: their domains are VMs, each with the program of domain.c in it,
which is told by its standard input. Each master is a copy of the machine that the conformance suite boots (runner/vms.py).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from runner.languages import c_program
from runner.vms import Nursery, nursery
from runner.wire import Refused

PROGRAM = "/root/domain"
LIBRARY = "/usr/lib/python3/dist-packages/gridcentric/lib"  # in the image


@functools.cache
def told_family() -> type:
    """Made when it is asked for: where there is no QEMU there is nothing to derive it from."""
    from vms import Family

    class ToldFamily(Family):
        """A family whose domains read lines and answer with lines."""

        stream = 0
        heard: dict[int, int]  # vmid -> lines of it that were taken

        def joined(self, key: int) -> None:
            self._vms.host.machines.get(key).channel.inherit(self.stream)
            super().joined(key)

        def ended(self, key: int, code: int) -> None:
            super().ended(key, code)
            if len(self.codes) > len(self.born()):  # the last: a family is known as long as one of it may clone
                self._vms.host.forget(self.registered)

        def domain(self, vmid: int) -> Any:
            living = self._vms.host.machines.all()
            return next((d for d in living if (d.family, d.vmid) == (self.registered.family, vmid)), None)

        def say(self, vmid: int, *words: object) -> None:
            async def write() -> None:
                self.domain(vmid).channel.write(self.stream, (" ".join(map(str, words)) + "\n").encode())

            self._vms.call(write())

        def hear(self, vmid: int) -> list[str]:
            """The next line of that domain, which must live to say it."""
            taken = self.heard.get(vmid, 0)

            def lines() -> list[str]:
                copy = self._programs[self.stream].copies.get(vmid)
                return copy.output.decode().split("\n")[:-1] if copy else []

            self.until(lambda: len(lines()) > taken or vmid in self.codes)
            assert len(lines()) > taken, f"vmid {vmid} has ended: {self.codes}"
            self.heard[vmid] = taken + 1
            return lines()[taken].split()

    return ToldFamily


class VmDomain:
    def __init__(self, driver: Vm, family: Any, vmid: int) -> None:
        self.driver, self._family = driver, family
        _, said, self.ip = family.hear(vmid)
        self.vmid = int(said)
        assert self.vmid == vmid

    def do(self, verb: str, *args: object) -> list[str]:
        if verb == "obstruct":
            self.driver.obstruct()
            return []
        if verb == "clear":
            self.driver.clear()
            return []
        self._family.say(self.vmid, verb, *args)
        kind, *words = self._family.hear(self.vmid)
        if kind == "error":
            raise Refused(words[0], " ".join(words[1:]))
        assert kind == "ok", f"vmid {self.vmid}: {kind}"
        return list(words)

    def clone(self, ticket: str, vms: int) -> list[VmDomain]:
        before = set(self._family.born())
        self.do("clone", ticket)
        self._family.until(lambda: len(self._family.born() - before) == vms)
        return [VmDomain(self.driver, self._family, vmid) for vmid in sorted(self._family.born() - before)]

    def begin_clone(self, ticket: str) -> None:
        self._family.say(self.vmid, "clone", ticket)

    def end(self, how: str, what: int | str) -> None:
        self._family.say(self.vmid, how, what)
        self.wait_gone()

    def vanish(self) -> None:
        self.driver.kill(self._family.domain(self.vmid))
        self.wait_gone()

    def wait_gone(self) -> None:
        self._family.until(lambda: self.vmid in self._family.codes)


class VmHost:
    """The part of hosts.Host that the contract's tests look at."""

    def __init__(self, nursery: Nursery) -> None:
        self.socket = nursery.vms.host.socket
        self.descriptors = nursery.descriptors


class Vm:
    name = "qemu"
    real = True
    mortal = False  # its host is this very process: tests/qemu kills one of its own

    def __init__(self) -> None:
        self._nursery = nursery(self.name)
        self._vms = self._nursery.vms
        self.host = VmHost(self._nursery)
        self._program = Path(c_program("domain", Path(__file__).parent, library=LIBRARY))
        self._families: list[Any] = []
        self._undo: Any = None

    def master(self) -> VmDomain:
        family = told_family()(self._vms)
        family.heard = {}

        async def begin() -> None:
            family.registered = await self._vms.host.new_family(family, "domain", "")
            its = family.registered
            family.master = await self._nursery.copy_of(self._nursery.base, its.key, its.family, its.address)

        self._vms.call(begin())
        self._families.append(family)
        family.copy(self._program, PROGRAM)
        family.stream = family.start(PROGRAM, given=None).stream
        return VmDomain(self, family, 0)

    def kill(self, domain: Any) -> None:
        self._vms.call(self._nursery.kill(domain))

    def obstruct(self) -> None:
        """The second clone of the next cloning can't be made."""
        from vms import fail_at

        self._undo = fail_at(2)

    def clear(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None

    def let_time_pass(self) -> None:
        """Real clones are made in real time."""

    def stop(self) -> None:
        self.clear()
        for family in self._families:
            for domain in [*family.clones(), family.domain(0)]:  # the master's end would end the others meanwhile
                if domain is not None:
                    self.kill(domain)
            family.until(lambda family=family: len(family.codes) > len(family.born()))


class OnCluster(Vm):
    name = "ray"

    def obstruct(self) -> None:
        """The clones of the next cloning are there on one computer, and can't be made on the other."""
        from gridcentric.hypervisors.ray.member import Member, MemberError

        original, holds = Member.call, 0

        async def call(member: Member, method: str, *arguments: Any) -> Any:
            nonlocal holds
            holds += method == "hold"
            if method == "hold" and holds == 2:
                raise MemberError("told to fail")
            return await original(member, method, *arguments)

        Member.call = call  # type: ignore[method-assign]
        self._undo = functools.partial(setattr, Member, "call", original)
