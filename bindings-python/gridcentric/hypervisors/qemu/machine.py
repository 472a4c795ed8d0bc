"""One QEMU process: its command line, its monitor, its life. Knows nothing of domains, clones or images' insides.

RAM is anonymous or a memfd, so that nothing is left over whatever dies first. Monitor and agent channel are socket pairs made
beforehand; the QEMU dies with this process (PR_SET_PDEATHSIG, prctl(2)).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

from qemu.qmp import EventListener, QMPClient
from qemu.qmp.error import QMPError
from qemu.qmp.qmp_client import ExecuteError

from gridcentric.hypervisors.qemu.console import Console
from gridcentric.hypervisors.qemu.disk import Disk, stand_in
from gridcentric.hypervisors.qemu.images import Image
from gridcentric.hypervisors.qemu.process import Child, Process
from gridcentric.hypervisors.qemu.started_programs import BINARY, launched

_KVM_LIMIT_S = 30


class MachineError(Exception):
    """A QEMU did not do what it was told; the text has its own words."""


@dataclass(frozen=True)
class Accelerator:
    name: str  # "kvm" or "tcg"
    why: str


@lru_cache(maxsize=1)
def accelerator() -> Accelerator:
    """KVM when a machine really runs with it, TCG otherwise. A KVM that can't run a stock guest counts as none."""
    if shutil.which(BINARY) is None:
        raise MachineError(f"there is no {BINARY} on PATH: apt-get install qemu-system-x86")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Accelerator("tcg", "/dev/kvm can't be opened")
    # A boot sector's worth of code is enough: the firmware runs, or the KVM is none.
    try:
        probe = subprocess.run(
            [BINARY, "-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "16", "-nodefaults", "-display", "none", "-S",
             "-monitor", "stdio"],
            input=b"quit\n", capture_output=True, timeout=_KVM_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Accelerator("tcg", f"/dev/kvm is there, but QEMU does not come up with it in {_KVM_LIMIT_S} s")
    if probe.returncode != 0:
        said = probe.stderr.decode(errors="replace").strip().splitlines()
        return Accelerator("tcg", f"/dev/kvm is there, but QEMU can't use it: {said[-1] if said else probe.returncode}")
    return Accelerator("kvm", "/dev/kvm works")


@dataclass(frozen=True)
class Shape:
    """What master and clones must have in common: a clone's device state fits no other machine."""

    image: Image
    memory_mib: int = 256
    cpus: int = 1
    disk_mib: int = 0  # 0: files that the machine writes are in its memory

    @property
    def memory(self) -> int:
        return self.memory_mib << 20

    @property
    def disk(self) -> int:
        return self.disk_mib << 20


@dataclass(frozen=True)
class Ram:
    """Where a machine's memory is."""

    fd: int = -1  # a memfd, the machine's to close; none: anonymous memory, the process's own
    shared: bool = False  # what the machine writes is written into the memfd; else it is copy-on-write over it

    @property
    def argument(self) -> str:
        if self.fd < 0:
            return "memory-backend-ram,id=ram"
        return f"memory-backend-file,id=ram,mem-path=/proc/self/fd/{self.fd},share={'on' if self.shared else 'off'}"


class Preload(Protocol):
    """Something that is loaded into a QEMU."""

    fds: list[int]  # that it takes along; whoever made it closes them

    def environment(self, others: list[int]) -> dict[str, str]:
        """others: its network card's descriptor, its monitor's and its agent's."""
        ...


@dataclass
class Seed:
    """What a machine is made with and that no other has."""

    tap: int  # its network card's other end; whoever makes the machine closes it
    mac: str  # of the card: that of its master, which the agent replaces


def _arguments(shape: Shape, ram: Ram, monitor: int, channel: int, console: int, seed: Seed, incoming: bool) -> list[str]:
    accel = accelerator().name
    root = f"driver=raw,node-name=root,read-only=on,file.driver=file,file.filename={shape.image.root}"
    root += ",file.locking=off,file.read-only=on"
    is_switch = stat.S_ISSOCK(os.fstat(seed.tap).st_mode)
    netdev = f"dgram,id=n0,local.type=fd,local.str={seed.tap}" if is_switch else f"tap,id=n0,fd={seed.tap}"
    # A guest waits for some answers of these devices in a loop (of the agent's port, of what sets a MAC). Emulated, the loop
    # competes with the thread that it waits for, which took a clone 14 ms: so the devices answer in the guest's own thread.
    at_once = "" if accel == "kvm" else ",ioeventfd=off"
    # no_timer_check: on a busy computer an emulated timer strikes too late for the kernel's test of it, and the kernel panics.
    arguments = [
        BINARY, "-M", "q35,memory-backend=ram,usb=off,vmport=off,hpet=off,smm=off,sata=off,smbus=off,graphics=off",
        "-accel", accel, "-cpu", "host" if accel == "kvm" else "max", "-smp", str(shape.cpus), "-m", str(shape.memory_mib),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-object", f"{ram.argument},size={shape.memory}",
        "-kernel", str(shape.image.kernel), "-initrd", str(shape.image.initrd),
        "-append", "console=ttyS0 quiet panic=-1 no_timer_check tsc=reliable net.ifnames=0 ipv6.disable=1 rdinit=/init"
        + (" gridcentric.disk" if shape.disk else ""),
        "-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console",
        "-chardev", f"socket,id=qmp,fd={monitor}", "-mon", "chardev=qmp,mode=control",
        "-chardev", f"socket,id=agent,fd={channel}", "-device", f"virtio-serial-pci,max_ports=4{at_once}",
        "-device", "virtserialport,chardev=agent,nr=1,name=agent",
        "-blockdev", root, "-device", "virtio-blk-pci,drive=root",
        "-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0",
        "-device", "vmgenid,guid=auto",
        "-netdev", netdev, "-device", f"virtio-net-pci,netdev=n0,mac={seed.mac},romfile={at_once}",
    ]  # fmt: skip
    if incoming:
        arguments += ["-incoming", "defer"]
    return arguments


class Machine:
    """A running QEMU. All methods belong to one asyncio loop."""

    def __init__(self, shape: Shape, ram: Ram, seed: Seed) -> None:
        self.shape = shape
        self.ram = ram
        self.mac = seed.mac
        self.channel: socket.socket  # the agent's port, this side
        self.console: Console  # of one that was started: a copy has none
        self.complaints: Console | None = None  # QEMU's, likewise
        self.disk: Disk | None = None
        self.process: Process
        self.qmp = QMPClient()
        self.qmp.events.event_filter = lambda event: False  # it keeps all that nobody takes, and a guest can cause many
        self.at_end: list[Callable[[], None]] = []  # called when nothing of it is left
        self._shutdown = EventListener("SHUTDOWN")

    @classmethod
    async def start(
        cls,
        shape: Shape,
        ram: Ram,
        seed: Seed,
        *,
        incoming: bool = False,
        preload: Preload | None = None,
        disk: Disk | None = None,
    ) -> Machine:
        """Start a QEMU and greet its monitor. RAM and disk become the machine's, also when this fails. One that never runs
        needs no disk, whatever its shape says."""
        machine = cls(shape, ram, seed)
        if ram.fd >= 0:
            machine.at_end.append(partial(os.close, ram.fd))
        if disk is not None:
            machine.disk = disk
            machine.at_end.append(disk.close)
        machine.console, machine.complaints = Console(), Console()
        machine.at_end += [machine.console.close, machine.complaints.close]
        monitor, monitor_there = socket.socketpair()
        machine.channel, channel_there = socket.socketpair()
        passed = [seed.tap, monitor_there.fileno(), channel_there.fileno(), *([ram.fd] if ram.fd >= 0 else [])]
        passed.append(machine.console.there.fileno())
        environment = dict(os.environ)
        if preload is not None:
            environment |= preload.environment(passed[:3])
            passed += preload.fds
        arguments = _arguments(shape, ram, passed[1], passed[2], machine.console.there.fileno(), seed, incoming)
        no_disk = contextlib.nullcontext((stand_in(shape.disk) if shape.disk else [], list[int]()))
        try:
            with disk.attached() if disk else no_disk as (options, layers):
                # A clone touches little here and there, of what TCG has translated above all: with huge pages 8 clones took a
                # third longer, and 8 MiB more each.
                machine.process = Child(subprocess.Popen(
                    launched([*arguments, *options], huge_pages=False),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=machine.complaints.there.fileno(),
                    env=environment,
                    pass_fds=[*passed, *layers], start_new_session=True,
                ))  # fmt: skip
        except OSError as error:
            monitor.close()
            machine.channel.close()
            machine._undo()
            raise MachineError(f"{BINARY} can't be started: {error}") from error
        finally:
            monitor_there.close()
            channel_there.close()
            machine.console.there.close()
            machine.complaints.there.close()
        await machine._greet(monitor)
        return machine

    @classmethod
    async def adopt(cls, of: Machine, seed: Seed, process: Process, monitor: socket.socket, channel: socket.socket) -> Machine:
        """A copy of a machine, with these other ends of its monitor and its agent's port. All becomes the machine's, also when
        this fails."""
        machine = cls(of.shape, Ram(), seed)
        machine.process, machine.channel = process, channel
        # Its monitor has greeted and agreed before it was copied.
        machine.qmp.await_greeting = machine.qmp.negotiate = False
        await machine._greet(monitor)
        return machine

    async def _greet(self, monitor: socket.socket) -> None:
        self.channel.setblocking(False)
        monitor.setblocking(False)
        self.qmp.register_listener(self._shutdown)
        try:
            await self.qmp.connect(monitor)
        except (QMPError, OSError) as error:
            self._kill()
            raise MachineError(f"QEMU did not come up: {self.said() or error}") from error

    def said(self) -> str:
        """The last line QEMU wrote to its standard error."""
        lines = self.complaints.lines() if self.complaints is not None else []
        return lines[-1] if lines else ""

    async def execute(self, command: str, **arguments: Any) -> Any:
        try:
            return await self.qmp.execute(command, arguments)
        except ExecuteError as error:
            raise MachineError(f"{command}: {error}") from error
        except (QMPError, OSError) as error:
            raise MachineError(f"QEMU is gone: {self.said() or error}") from error

    async def _migration(self, start: str, uri: str) -> None:
        with self.qmp.listener("MIGRATION") as events:
            await self.execute(start, uri=uri)
            over = asyncio.ensure_future(self._migrated(start, events))
            gone = asyncio.ensure_future(self.process.ended())
            await asyncio.wait({over, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not over.done():
                over.cancel()
                raise MachineError(f"QEMU is gone: {self.said() or start}")
            await over

    async def _migrated(self, start: str, events: EventListener) -> None:
        async for event in events:
            data: Any = event["data"]
            if data["status"] == "completed":
                return
            if data["status"] in ("failed", "cancelled"):
                raise MachineError(f"{start} {data['status']}: {self.said()}")

    def send(self, fd: int) -> None:
        """Give a descriptor to the command that comes next."""
        try:
            self.qmp.send_fd_scm(fd)
        except (QMPError, OSError) as error:
            raise MachineError(f"QEMU is gone: {self.said() or error}") from error

    async def _give(self, fd: int) -> None:
        self.send(fd)
        await self.execute("getfd", fdname="state")

    async def _enable(self, shared_ram: bool) -> None:
        names = {"events": True, "x-ignore-shared": shared_ram}
        await self.execute("migrate-set-capabilities", capabilities=[{"capability": n, "state": s} for n, s in names.items()])
        await self.execute("migrate-set-parameters", **{"announce-rounds": 0, "max-bandwidth": 1 << 40})

    async def save(self, state: int, *, with_ram: bool) -> None:
        """Write the stopped machine's state to the file; with its RAM when that is private."""
        await self._enable(not with_ram)
        await self._give(state)
        await self._migration("migrate", "fd:state")
        # QEMU says that it is completed a moment before it lets the machine go on, and has no word for that.
        while (await self.execute("query-status"))["status"] == "finish-migrate":
            await asyncio.sleep(0.001)

    async def load(self, state: int, *, with_ram: bool) -> None:
        """Become what save() wrote; the machine is stopped after that."""
        await self._enable(not with_ram)
        await self._give(state)
        await self._migration("migrate-incoming", "fd:state")

    async def stop(self) -> None:
        await self.execute("stop")

    async def resume(self) -> None:
        await self.execute("cont")

    async def discard(self) -> None:
        """End it; nothing of it is left. May be called twice."""
        await self._monitor_gone()
        self._kill()

    async def _monitor_gone(self) -> None:
        """Let the monitor's client find out that its QEMU is gone, without complaint."""
        self.process.kill()
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self.qmp.disconnect()

    def _kill(self) -> None:
        self.process.close()
        self._undo()
        self.channel.close()

    def _undo(self) -> None:
        while self.at_end:
            self.at_end.pop()()

    async def ended(self) -> int:
        """Wait for the process's end; its exit code, negative for a signal."""
        code = await self.process.ended()
        if code is not None:
            return code
        # The kernel does not say: it has ended by itself where its guest has powered it off, or else was killed.
        await self._monitor_gone()
        return -signal.SIGKILL if self._shutdown.empty() else 0
