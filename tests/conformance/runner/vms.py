"""VMs as a host of the suite (the qemu hypervisor; cluster.py has what differs in ray): a host of machines in this process.

Booting takes seconds, so one machine is booted; a copy of it starts the adapter of a language, and the master of each case
is a copy of that, a separate VM and family. The adapter reads and writes its standard input and output, also in the
clones of its machine; what it says in each is carried to the runner over a connection for each domain, as real.py expects it.

It must not know cases.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .actors import Actor, Caller, Hung
from .hosts import CPUS, ROOT
from .languages import ADAPTERS, c_program
from .real import RealPlay
from .unbuilt import Missing
from .wire import HANG_GUARD_S, Connection

sys.path.insert(0, str(ROOT / "tests" / "qemu"))

MEMORY_MIB = 160
PLACE = "/suite/tests/conformance/adapters"  # as deep as in the checkout: the shell's looks for errors.def above itself
PYTHON = f"import sys; sys.path.insert(0, '{PLACE}'); import python_adapter; python_adapter.main('{{}}')"
COMMANDS = {
    "c": [f"{PLACE}/c"],
    "python": ["python3", "-c", PYTHON.format("guest")],
    "aio": ["python3", "-c", PYTHON.format("aio")],
    "node": ["node", f"{PLACE}/node.js", "gridcentric", "promise"],
    "node_callback": ["node", f"{PLACE}/node.js", "gridcentric", "callback"],
    "shell": ["bash", f"{PLACE}/shell.sh", "gc"],
}
SIGNALS = 1  # the stream of what sends a signal
# The answer to it tells that the adapter has started, which takes seconds in some languages. C's is there at once.
ANYTHING = b'{"id":0,"call":"nothing","args":[]}\n'


@dataclass
class Model:
    """A machine that others are copies of. The host of the cases knows nothing of it."""

    domain: Any  # gridcentric.hypervisors.qemu.machine_domain.MachineDomain
    stream: int = 0  # of the adapter that runs in it
    start: Any = None  # what its copies start from, where that is kept


class Nursery:
    """All VMs of the suite: the models, and the host of the cases."""

    def __init__(self) -> None:
        self.vms = self._start()
        try:
            self._boot()
        except BaseException:
            self.close()
            raise

    def _boot(self) -> None:
        self._last_key = 0  # models have negative ones, which the host gives to nobody, and of whose ends it must not hear
        driver: Any = self.vms.host._driver
        tell = driver.machine_ended
        driver.machine_ended = lambda key, code: tell(key, code) if key >= 0 else None
        own = [ADAPTERS / name for name in ("python_adapter.py", "node.js", "shell.sh")]
        files = {PLACE: [*own, Path(c_program("c", library="/usr/lib/python3/dist-packages/gridcentric/lib"))]}
        files["/suite/core/include/gridcentric"] = [ROOT / "core" / "include" / "gridcentric" / "errors.def"]
        family = self._begin(None)
        for folder, sources in files.items():
            family.run("mkdir", "-p", folder)
            for source in sources:
                family.copy(source, f"{folder}/{source.name}")
        self.base = Model(family.master)  # nothing runs in it

    def model(self, language: str) -> Model:
        family = self._begin(self.base)
        command = ["sh", "-c", 'echo $$ > /tmp/pid; exec "$@" 2>/tmp/stderr', "-", *COMMANDS[language]]
        program = family.start(*command, given=None)
        if language != "c":
            family.give(program, ANYTHING)
            family.until(lambda: bool(program.master.lines) or program.master.code is not None)
            assert program.master.code is None, program.text()
        return Model(family.master, program.stream)

    def _begin(self, model: Model | None) -> Any:
        """A machine that the host knows nothing of: booted, or a copy."""
        from vms import Family

        from gridcentric.hypervisors.qemu.machine import Shape

        host = self.vms.host
        self._last_key -= 1
        key, name = self._last_key, str(uuid.uuid4())
        family = Family(self.vms)

        async def begin() -> None:
            host._owners[key] = family
            address = host.machines.reserve_address()
            if model is None:
                family.master = await host.machines.boot(key, name, Shape(self.vms.image, MEMORY_MIB), address)
            else:
                family.master = await self.copy_of(model, key, name, address)

        self.vms.call(begin())
        return family

    # --- what another hypervisor of VMs does in another way -------------------------------------------------------------

    @staticmethod
    def what_is_missing() -> str:
        """Why it can't be here, or nothing."""
        from vms import what_is_missing

        return what_is_missing()

    def _start(self) -> Any:
        """The host."""
        from vms import Vms

        return Vms(CPUS, control=True)

    def close(self) -> None:
        self.vms.close()

    async def copy_of(self, model: Model, key: int, family: str, address: str) -> Any:
        """A master that stands where the model stands: made as a clone is, but in its own family."""
        from gridcentric.hypervisors.qemu.times import Times

        machines = self.vms.host.machines
        as_parent = replace(model.domain, family=family)
        [domain] = await machines._make(as_parent, [(key, 0, address)], Times())
        if model.stream:
            domain.channel.inherit(model.stream)
        await machines._release(domain, -1, None)
        machines._watch(domain)
        return domain

    async def kill(self, domain: Any) -> None:
        """The machine is killed from outside."""
        os.kill(domain.machine.process.pid, signal.SIGKILL)

    def descriptors(self) -> list[str]:
        """Memory and network devices that its machines have."""
        from vms import held

        return held("memfd:gridcentric", "/dev/net/tun")


_nurseries: dict[str, Nursery] = {}


def nursery(kind: str) -> Nursery:
    """That of the hypervisor, begun with its first use."""
    if kind not in _nurseries:
        from .cluster import ClusterNursery

        makes = {"qemu": Nursery, "ray": ClusterNursery}[kind]
        if reason := makes.what_is_missing():
            raise Missing(reason)
        _nurseries[kind] = makes()
    return _nurseries[kind]


def close_nurseries() -> None:
    while _nurseries:
        _nurseries.popitem()[1].close()


class CarriedFamily:
    """A family whose domains each have a connection to the runner. All methods but wait_end() belong to the host's loop."""

    def __init__(self, nursery: Nursery, model: Model, path: str) -> None:
        """path: where the runner listens for the family's domains."""
        self._nursery = nursery
        self._host = nursery.vms.host
        self._model = model
        self._stream = model.stream
        self._path = path
        self._opened: dict[int, asyncio.Task[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = threading.Event()  # the master has ended
        self.registered: Any
        self.code: int | None = None  # the program's, or the signal that has ended its machine as a negative one

    async def begin(self, name: str, on_exit: str) -> None:
        self.registered = await self._host.new_family(self, name, on_exit)
        self._carry(self.registered.key, "null")
        registered = self.registered
        await self._nursery.copy_of(self._model, registered.key, registered.family, registered.address)

    def wait_end(self) -> bool:
        return self._over.wait(HANG_GUARD_S)

    def _carry(self, key: int, hello: str) -> None:
        opened = asyncio.ensure_future(asyncio.open_unix_connection(self._path, limit=1 << 22))
        self._opened[key] = opened

        async def carry() -> None:
            reader, writer = await opened
            writer.write(b'{"id":0,"ok":%s}\n' % hello.encode())
            more = True
            while more:
                try:
                    data = await reader.read(65536)
                except ConnectionError:
                    return
                domain = self._host.machines.get(key)
                if domain is not None:
                    domain.channel.write(self._stream, data)
                more = bool(data)

        self._later(carry())

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- gridcentric.hypervisors.qemu.host.Program --------------------------------------------------------------------

    async def output(self, key: int, stream: int, data: bytes, errors: bool) -> None:
        if stream == self._stream:
            _, writer = await self._opened[key]
            writer.write(data)

    def exited(self, key: int, stream: int, code: int) -> None:
        async def end() -> None:
            if key == self.registered.key:
                self.code = code
                if code == 0:
                    await self.registered.say_bye()
            self._host.program_ended(key, code)

        if stream == self._stream:
            self._later(end())

    def joined(self, key: int) -> None:
        domain = self._host.machines.get(key)
        domain.channel.inherit(self._stream)
        self._carry(key, str(domain.vmid))

    def ended(self, key: int, code: int) -> None:
        async def close() -> None:
            _, writer = await self._opened.pop(key)
            writer.close()
            if key == self.registered.key:
                self.code = code if self.code is None else self.code
                self._over.set()
            if not self._opened:  # the last: a family is known as long as one of it may clone
                self._host.forget(self.registered)

        self._later(close())


class VmHost:
    """The face of hosts.Host, with machines behind it."""

    def __init__(self, kind: str, language: str) -> None:
        self.kind = kind
        self._nursery = nursery(kind)
        self._vms = self._nursery.vms
        self._model = self._nursery.model(language)
        self.socket = self._vms.host.socket
        self.folder = str(Path(self.socket).parent)
        self.guest_environment: dict[str, str] = {}
        self.control = Connection(self.socket, "control")

    def command(self, verb: str, *args: object) -> list[list[str]] | list[str]:
        items, fields = self.control.call(verb, *args)
        return items if items or verb in ("dump", "domains") else fields

    def is_dead(self) -> bool:
        return False

    def descriptors(self) -> list[str]:
        return self._nursery.descriptors()

    def start(self, name: str, on_exit: str, path: str) -> CarriedFamily:
        family = CarriedFamily(self._nursery, self._model, path)
        self._vms.call(family.begin(name, on_exit))
        return family

    def end_all_of(self, family: CarriedFamily) -> None:
        """Its master and all clones, at once; returns when they have ended."""

        async def end() -> None:
            for domain in self._vms.host.machines.all():
                if domain.family == family.registered.family:
                    self._vms.host.machines.end(domain.key)

        self._vms.call(end())
        family.wait_end()

    def kill(self, family: CarriedFamily) -> None:
        """The machine of its master."""
        domain = self._vms.host.machines.get(family.registered.key)
        if domain is not None:
            self._vms.call(self._nursery.kill(domain))

    def strike(self, family: str, vmid: int, number: int) -> None:
        """A signal for the adapter in this machine."""

        async def run() -> None:
            [domain] = [d for d in self._vms.host.machines.all() if (d.family, d.vmid) == (family, vmid)]
            domain.channel.run(SIGNALS, "/", ["sh", "-c", f"kill -{number} $(cat /tmp/pid)"])

        self._vms.call(run())

    def stop(self) -> None:
        self.close()

    def close(self) -> None:
        self.control.close()
        self._vms.call(self._vms.host.machines.finish(self._model.domain.key))


class VmPlay(RealPlay):
    """A domain's program is in its machine."""

    host: VmHost

    def strike(self, family: str, vmid: int, number: int) -> None:
        self.host.strike(family, vmid, number)


class VmActor(Actor):
    """The program of a case's master, in a VM."""

    def __init__(self, name: str, host: VmHost, env: dict[str, str]) -> None:
        Caller.__init__(self, name)
        self._host = host
        self._family = host.start(name, env.get("GRIDCENTRIC_ON_MASTER_EXIT", ""), env["CONFORMANCE_CHANNEL"])

    def why(self) -> str:
        return ""

    def wait_end(self) -> int:
        if not self._family.wait_end():
            raise Hung(f"{self.name} has not ended in {HANG_GUARD_S:.0f} s")
        assert self._family.code is not None
        return self._family.code

    def kill(self, group: bool = True) -> None:
        """The machine of the master; its clones are the host's business."""
        self._host.kill(self._family)
        self._family.wait_end()

    def left_over(self) -> list[str]:
        return []

    def close(self) -> None:
        self._host.end_all_of(self._family)
        Caller.close(self)
