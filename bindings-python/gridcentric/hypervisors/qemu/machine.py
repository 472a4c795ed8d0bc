"""One QEMU process: its command line, its monitor, its life. Knows nothing of domains, clones or images' insides.

RAM is a memfd, so that nothing is left over whatever dies first: `share=on` for a machine that was booted, `share=off`
(copy-on-write) for one that runs on a template. Monitor and agent channel are socket pairs made beforehand; the QEMU
dies with this process (PR_SET_PDEATHSIG, prctl(2)).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import stat
import subprocess
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient
from qemu.qmp.error import QMPError
from qemu.qmp.qmp_client import ExecuteError

from gridcentric.hypervisors.qemu.children import BINARY, die_with_parent, libc
from gridcentric.hypervisors.qemu.images import Image

_PR_SET_THP_DISABLE = 41  # prctl(2)


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
    probe = subprocess.run(
        [BINARY, "-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "16", "-nodefaults", "-display", "none", "-S",
         "-monitor", "stdio"],
        input=b"quit\n", capture_output=True, timeout=30, check=False,
    )  # fmt: skip
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

    @property
    def memory(self) -> int:
        return self.memory_mib << 20


def _arguments(
    shape: Shape, ram: int, private: bool, monitor: int, channel: int, tap: int | None, log: Path, mac: str, incoming: bool
) -> list[str]:
    accel = accelerator().name
    share = "off" if private else "on"
    root = f"driver=raw,node-name=root,read-only=on,file.driver=file,file.filename={shape.image.root}"
    root += ",file.locking=off,file.read-only=on"
    arguments = [
        BINARY, "-M", "q35,memory-backend=ram,usb=off,vmport=off,hpet=off,smm=off,sata=off,smbus=off,graphics=off",
        "-accel", accel, "-cpu", "host" if accel == "kvm" else "max", "-smp", str(shape.cpus), "-m", str(shape.memory_mib),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-object", f"memory-backend-file,id=ram,size={shape.memory},mem-path=/proc/self/fd/{ram},share={share}",
        "-kernel", str(shape.image.kernel), "-initrd", str(shape.image.initrd),
        "-append", "console=ttyS0 quiet panic=-1 tsc=reliable net.ifnames=0 ipv6.disable=1 rdinit=/init",
        "-serial", f"file:{log}",
        "-chardev", f"socket,id=qmp,fd={monitor}", "-mon", "chardev=qmp,mode=control",
        "-chardev", f"socket,id=agent,fd={channel}", "-device", "virtio-serial-pci,max_ports=4",
        "-device", "virtserialport,chardev=agent,nr=1,name=agent",
        "-blockdev", root, "-device", "virtio-blk-pci,drive=root",
        "-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0",
        "-device", "vmgenid,guid=auto",
    ]  # fmt: skip
    if tap is not None:
        is_switch = stat.S_ISSOCK(os.fstat(tap).st_mode)
        netdev = f"dgram,id=n0,local.type=fd,local.str={tap}" if is_switch else f"tap,id=n0,fd={tap}"
        arguments += ["-netdev", netdev, "-device", f"virtio-net-pci,netdev=n0,mac={mac},romfile="]
    if incoming:
        arguments += ["-incoming", "defer"]
    return arguments


def _prepare(parent: int) -> None:
    """In the process that becomes QEMU: it dies with its host, and has no huge pages. A clone touches little here and there,
    of what TCG has translated above all: with huge pages 8 clones took a third longer, and 8 MiB more each."""
    libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    die_with_parent()
    if os.getppid() != parent:  # it has died before
        os._exit(1)


class Machine:
    """A running QEMU. All methods belong to one asyncio loop."""

    def __init__(self, shape: Shape, ram: int, mac: str, log: Path) -> None:
        self.shape = shape
        self.ram = ram  # the memfd; this object's to close
        self.mac = mac
        self.log = log
        self.channel: socket.socket  # the agent's port, this side
        self.process: subprocess.Popen[bytes]
        self.qmp = QMPClient()
        self._capable = False

    @classmethod
    async def start(
        cls, shape: Shape, ram: int, *, private: bool, tap: int | None, mac: str, log: Path, incoming: bool
    ) -> Machine:
        """Start a QEMU and greet its monitor. ram becomes the machine's, also when this fails; tap stays the caller's."""
        machine = cls(shape, ram, mac, log)
        monitor, monitor_there = socket.socketpair()
        machine.channel, channel_there = socket.socketpair()
        passed = [ram, monitor_there.fileno(), channel_there.fileno(), *([] if tap is None else [tap])]
        arguments = _arguments(shape, ram, private, passed[1], passed[2], tap, log, mac, incoming)
        try:
            with Path(f"{log}.err").open("wb") as said:
                machine.process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                    # System calls alone: safe with threads.
                    pass_fds=passed, preexec_fn=partial(_prepare, os.getpid()), start_new_session=True,  # noqa: PLW1509
                )  # fmt: skip
        except OSError as error:
            monitor.close()
            machine.channel.close()
            os.close(ram)
            raise MachineError(f"{BINARY} can't be started: {error}") from error
        finally:
            monitor_there.close()
            channel_there.close()
        machine.channel.setblocking(False)
        monitor.setblocking(False)
        try:
            await machine.qmp.connect(monitor)
        except (QMPError, OSError) as error:
            machine.kill()
            raise MachineError(f"QEMU did not come up: {machine.said() or error}") from error
        return machine

    def said(self) -> str:
        """The last line QEMU wrote to its standard error."""
        try:
            lines = Path(f"{self.log}.err").read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
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
            gone = asyncio.ensure_future(self.ended())
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

    async def _give(self, fd: int) -> None:
        self.qmp.send_fd_scm(fd)
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

    async def qmp_gone(self) -> None:
        """Let the monitor's client find out that its QEMU is gone, without complaint."""
        if self.process.poll() is None:
            self.process.kill()
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self.qmp.disconnect()

    def kill(self) -> None:
        """End it, at once and for good. May be called twice."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.ram >= 0:
            os.close(self.ram)
            self.ram = -1
        self.channel.close()
        for path in (self.log, Path(f"{self.log}.err")):
            path.unlink(missing_ok=True)

    async def ended(self) -> int:
        """Wait for the process's end; its return code. A pidfd tells (pidfd_open(2))."""
        fd = os.pidfd_open(self.process.pid)
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def over() -> None:
            if not done.done():
                done.set_result(None)

        loop.add_reader(fd, over)
        try:
            await done
        finally:
            loop.remove_reader(fd)
            os.close(fd)
        return self.process.wait()
