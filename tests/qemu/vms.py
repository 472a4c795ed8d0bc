"""Real VMs under the test's control: a host of machines in this process, masters on it, and programs that the tests start in
them. A program goes on in the clones of its machine; what each of its copies writes is heard apart.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, TypeVar

import pytest

from gridcentric.hypervisors.qemu import images
from gridcentric.hypervisors.qemu.family import method_here
from gridcentric.hypervisors.qemu.host import MachineHost, Master
from gridcentric.hypervisors.qemu.images import Image
from gridcentric.hypervisors.qemu.machine import Machine, MachineError, Shape
from gridcentric.hypervisors.qemu.machine_domain import MachineDomain

IMAGE = os.environ.get("GRIDCENTRIC_TEST_IMAGE", images.DEFAULT)
PROGRAMS = Path(__file__).parent / "programs"
CPUS = 16
MEMORY_MIB = 192
HANG_GUARD_S = 240  # nothing waits this long unless it hangs

NEEDED = {"qemu-system-x86_64": "qemu-system-x86", "mmdebstrap": "mmdebstrap", "mkfs.erofs": "erofs-utils", "depmod": "kmod"}

T = TypeVar("T")


@functools.lru_cache(maxsize=1)
def what_is_missing() -> str:
    """Why VMs can't be run here, or nothing. The image is built when it is not there."""
    missing = [package for command, package in NEEDED.items() if shutil.which(command) is None]
    if missing:
        return f"needs Debian's {' '.join(missing)}"
    try:
        images.ensure(IMAGE, lambda text: print(text, file=sys.stderr))
    except images.ImageError as error:
        return f"no image can be built here: {error}"
    return ""


def under_limit(namespaces: str, most: int) -> list[str]:
    """The command that runs a program which gets at most that many namespaces of a kind, such as "net" (namespaces(7))."""
    script = f'echo {most} > /proc/sys/user/max_{namespaces}_namespaces && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "-"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs unshare and user namespaces, to refuse other namespaces in one")
    return command


def held(*kinds: str) -> list[str]:
    """What this process has open of these kinds, as "/dev/net/tun"; that which nobody needs any more not among it."""
    gc.collect()
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if any(kind in target for kind in kinds):
            found.append(target)
    return sorted(found)


def fail_at(nth: int) -> Callable[[], None]:
    """From here on the nth machine that a cloning makes can't be made, by either method; by "copy" the first of several is that
    one which the others are copies of. What is returned undoes that."""
    step = {"copy": "_greet", "load": "load"}[method_here()]
    original, calls = getattr(Machine, step), 0

    async def fail(machine: Machine, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise MachineError("told to fail")
        await original(machine, *args, **kwargs)

    setattr(Machine, step, fail)
    return lambda: setattr(Machine, step, original)


@dataclass
class Copy:
    """A program in one machine: what it has written, how it has ended."""

    vmid: int
    output: bytes = b""
    errors: bytes = b""  # if asked for apart
    code: Optional[int] = None  # None: it runs, or its machine has ended before it

    @property
    def lines(self) -> list[str]:
        return self.output.decode().splitlines()


@dataclass
class Program:
    """A program in the master and in the clones of it that were made meanwhile; by vmid, 0 the master."""

    stream: int
    copies: dict[int, Copy] = field(default_factory=dict)

    @property
    def master(self) -> Copy:
        return self.copies[0]

    def clones(self) -> list[Copy]:
        return [copy for vmid, copy in sorted(self.copies.items()) if vmid != 0]

    def text(self) -> str:
        return "\n".join(f"vmid {c.vmid}, {c.code}: {c.output.decode(errors='replace')}" for c in self.copies.values())


class Family:
    """A booted master and its clones. Thread-safe, like Vms."""

    def __init__(self, vms: Vms) -> None:
        self._vms = vms
        self._programs: dict[int, Program] = {}
        self._vmids: dict[int, int] = {}
        self.codes: dict[int, int] = {}  # vmid -> how its QEMU has ended
        self.registered: Master
        self.master: MachineDomain

    def start(self, *command: str, folder: str = "/root", given: Optional[bytes] = b"", apart: bool = False) -> Program:
        """Start a program in the master; `given` is its whole input, None leaves that open. apart: its errors are told from
        its output."""

        async def begin() -> Program:
            stream = 100 + len(self._programs)
            program = self._programs[stream] = Program(stream, {0: Copy(0)})
            self.master.channel.run(stream, folder, list(command), apart)
            if given:
                self.master.channel.write(stream, given)
            if given is not None:
                self.master.channel.write(stream, b"")
            return program

        return self._vms.call(begin())

    def give(self, program: Program, data: bytes) -> None:
        async def write() -> None:
            self.master.channel.write(program.stream, data)

        self._vms.call(write())

    def run(self, *command: str, given: bytes = b"") -> Program:
        """Run a program and wait until it has ended in the master, and the machines of all its clones."""
        program = self.start(*command, given=given)
        self.until(lambda: program.master.code is not None and not self.clones())
        assert program.master.code == 0, program.text()
        return program

    def copy(self, source: Path, target: str) -> None:
        """A file of this machine into the master; executable."""
        self.run("sh", "-c", f"cat > {target} && chmod 755 {target}", given=source.read_bytes())

    def clones(self) -> list[MachineDomain]:
        """Those that live, by vmid."""
        living = self._vms.host.machines.all()
        return sorted((d for d in living if d.family == self.master.family and d.vmid != 0), key=lambda domain: domain.vmid)

    def born(self) -> set[int]:
        """The vmids of all clones that came to life."""
        return set(self._vmids.values())

    def end(self, domain: MachineDomain) -> None:
        """End a machine as the host does."""
        self._vms.call(self._vms.host.machines.finish(domain.key))

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds; looked at whenever something is heard of a machine."""
        with self._vms.changed:
            if not self._vms.changed.wait_for(holds, HANG_GUARD_S):
                raise AssertionError("hangs\n" + "\n".join(program.text() for program in self._programs.values()))

    # --- gridcentric.hypervisors.qemu.host.Program --------------------------------------------------------------------

    def _copy_of(self, key: int, stream: int) -> Optional[Copy]:
        domain = self._vms.host.machines.get(key)
        program = self._programs.get(stream)
        return None if program is None or domain is None else program.copies.setdefault(domain.vmid, Copy(domain.vmid))

    async def output(self, key: int, stream: int, data: bytes, errors: bool) -> None:
        with self._vms.changed:
            if (copy := self._copy_of(key, stream)) is not None:
                if errors:
                    copy.errors += data
                else:
                    copy.output += data
            self._vms.changed.notify_all()

    def exited(self, key: int, stream: int, code: int) -> None:
        with self._vms.changed:
            if (copy := self._copy_of(key, stream)) is not None:
                copy.code = code
                if copy.vmid != 0:  # a clone has nothing but this program to live for
                    self._vms.host.program_ended(key, code)
            self._vms.changed.notify_all()

    def joined(self, key: int) -> None:
        domain = self._vms.host.machines.get(key)
        assert domain is not None
        with self._vms.changed:
            self._vmids[key] = domain.vmid
            self._vms.changed.notify_all()

    def ended(self, key: int, code: int) -> None:
        with self._vms.changed:
            self.codes[self._vmids.get(key, 0)] = code
            self._vms.changed.notify_all()


class Vms:
    """A host of VMs, on its own thread."""

    def __init__(self, cpus: int = CPUS, control: bool = False, make: Callable[..., MachineHost] = MachineHost) -> None:
        """make: makes the host."""
        self._folder = tempfile.TemporaryDirectory(prefix="gcq-")
        self.changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="machines")
        self._thread.start()
        self.call(self._start(cpus, control, make))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the loop's thread do it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(HANG_GUARD_S)

    async def _start(self, cpus: int, control: bool, make: Callable[..., MachineHost]) -> None:
        folder = Path(self._folder.name)
        self.host = make(folder, f"{folder}/host.sock", cpus, control)
        await self.host.start()
        self.image = await self._loop.run_in_executor(None, images.ensure, IMAGE, print)
        images.hold(self.image)  # other tests, of another checkout too, may replace it meanwhile

    def boot(self, memory_mib: int = MEMORY_MIB, disk_mib: int = 0, image: Optional[Image] = None) -> Family:
        async def begin() -> Family:
            family = Family(self)
            family.registered = await self.host.new_family(family, "test", "")
            family.master = await self.host.boot(family.registered, Shape(image or self.image, memory_mib, disk_mib=disk_mib))
            return family

        return self.call(begin())

    def close(self) -> None:
        self.call(self.host.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._folder.cleanup()
