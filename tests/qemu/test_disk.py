"""Disks: layers and their merging under a QEMU without a machine in it, and files that no memory could hold in real VMs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import QMPClient
from vms import Vms, held

from gridcentric.hypervisors.qemu import disk
from gridcentric.hypervisors.qemu.disk import Disk, DiskError, Frozen
from gridcentric.hypervisors.qemu.started_programs import BINARY

needs_qemu = pytest.mark.skipif(shutil.which(BINARY) is None, reason="needs Debian's qemu-system-x86")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where layers are; none is left."""
    monkeypatch.setenv("GRIDCENTRIC_DISKS", str(tmp_path))
    yield tmp_path
    assert not layers_in(tmp_path)
    assert not list(tmp_path.iterdir())


def layers_in(place: Path) -> list[str]:
    """Files without a name that this process holds there."""
    held = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held.append(str(entry.readlink()))
        except OSError:
            continue
    return [name for name in held if name.startswith(str(place))]


class Drive:
    """A QEMU with a disk, and nothing that runs: what is written and read is told to its monitor."""

    def __init__(self, of: Disk, said: Path) -> None:
        self.disk = of
        self.said = said
        self.qmp = QMPClient()

    async def start(self) -> Drive:
        here, there = socket.socketpair()
        with self.disk.attached() as (options, layers), self.said.open("ab") as said:
            monitor = ["-chardev", f"socket,id=qmp,fd={there.fileno()}", "-mon", "chardev=qmp,mode=control"]
            options = [option.replace("werror", "share-rw=on,werror") for option in options]  # the monitor writes, too
            machine = [BINARY, "-M", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-S"]
            self.process = subprocess.Popen([*machine, *monitor, *options], pass_fds=[there.fileno(), *layers], stdout=said)
        there.close()
        here.setblocking(False)
        await self.qmp.connect(here)
        return self

    def send(self, fd: int) -> None:
        self.qmp.send_fd_scm(fd)

    async def execute(self, command: str, **arguments: Any) -> Any:
        return await self.qmp.execute(command, arguments)

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait)

    async def do(self, command: str) -> None:
        (top,) = [node["qdev"] and node["inserted"]["node-name"] for node in await self.execute("query-block")]
        await self.execute("human-monitor-command", **{"command-line": f'qemu-io {top} "{command}"'})

    async def freeze(self) -> Frozen:
        await self.disk.prepare(self)
        return await self.disk.freeze(self)

    async def close(self) -> None:
        await self.execute("quit")
        with contextlib.suppress(EOFError):  # it may have hung up before
            await self.qmp.disconnect()
        self.process.wait()
        self.disk.close()


@needs_qemu
def test_layers(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    said = tmp_path_factory.mktemp("said") / "said"

    async def play() -> None:
        master = await Drive(Disk.new(4 << 30), said).start()
        await master.do("write -P 1 1G 1M")
        frozen = await master.freeze()
        await master.do("write -P 2 1G 512k")
        clone = await Drive(Disk.over(frozen), said).start()
        frozen.release()
        await clone.do("read -P 1 1G 1M")  # as it was, whatever the master has written since
        await clone.do("write -P 3 1G 64k")
        await master.do("read -P 2 1G 512k")
        grandchild_of = await clone.freeze()
        await clone.do("write -P 4 1G 64k")
        grandchild = await Drive(Disk.over(grandchild_of), said).start()
        grandchild_of.release()
        await grandchild.do("read -P 3 1G 64k")
        # Clones that live on: layers can't be merged, and are copied together when there are too many.
        living = []
        for at in range(disk.LONG + 4):
            living.append(await master.freeze())
            await master.do(f"write -P {at + 1} {at + 10}M 64k")
            assert len(master.disk) <= disk.LONG + 1
        for frozen in living:
            frozen.release()
        # Clones that have ended: what only the master has is one layer again.
        for _ in range(3 * disk.SHORT):
            (await master.freeze()).release()
            assert len(master.disk) <= disk.LONG + 1
        assert len(master.disk) <= disk.SHORT + 1
        for at in range(disk.LONG + 4):
            await master.do(f"read -P {at + 1} {at + 10}M 64k")
        await master.do("read -P 2 1G 512k")
        await master.close()
        await clone.do("read -P 4 1G 64k")  # its layers are there, though the master is not
        await clone.do("read -P 1 1048640k 64k")
        await clone.close()
        await grandchild.do("read -P 3 1G 64k")
        await grandchild.close()

    asyncio.run(play())
    lines = said.read_text().splitlines()
    assert [line for line in lines if "fail" in line or "rror" in line] == []
    assert len([line for line in lines if line.startswith(("read ", "wrote "))]) == 11 + 2 * (disk.LONG + 4)


def test_what_does_not_fit_is_refused(place: Path) -> None:
    with pytest.raises(DiskError, match=rf"a disk of {1 << 30} MiB does not fit in {place}, where \d+ MiB are free"):
        Disk.new(1 << 50)


def test_a_place_that_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDCENTRIC_DISKS", "/proc")
    with pytest.raises(DiskError, match=r"/proc"):
        Disk.new(64 << 20)


def test_no_mke2fs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(disk, "tool_path", lambda: "")
    with pytest.raises(DiskError, match="apt-get install e2fsprogs"):
        Disk.new(64 << 20)


# Each copy marks a place in a file that no memory of the VM could hold, and looks at it when nothing of it is in memory.
SCRIPT = r"""
set -e
mark() { printf 'mark of %s.' "$(gc vmid)" | dd of=big conv=notrunc bs=64 seek=$1 status=none; }
look() { dd if=big bs=64 skip=$1 count=1 status=none | head -c 10 | tr '\n' ' '; }
yes 'written by the master before' | head -c 300000000 > big
ticket=$(gc rt 2 2 1 10000)
gc clone "$ticket" > /dev/null
mark 3000000
inner=
if [ "$(gc vmid)" = 1 ]; then
  inner=$(gc rt 1 1 1 10000)
  gc clone "$inner" > /dev/null
  mark 4000000
fi
sync
echo 3 > /proc/sys/vm/drop_caches
echo "vmid $(gc vmid): $(stat -c %s big) $(look 3000000)/ $(look 4000000)/ $(tail -c 1000 big | md5sum | head -c 8)"
case $(gc vmid) in
  0) gc wait "$ticket" > /dev/null ;;
  1) gc wait "$inner" > /dev/null; gc join ;;
  *) gc join ;;
esac
"""


def test_master_and_clones_have_disks_of_their_own(machines: Vms, place: Path) -> None:
    family = machines.boot(memory_mib=192, disk_mib=1024)
    program = family.run("bash", "-c", SCRIPT)
    said = sorted(line for copy in program.copies.values() for line in copy.lines if line.startswith("vmid"))
    ends = {line.split()[-1] for line in said}
    untouched = "n by the m"  # what the text has there
    assert len(ends) == 1, program.text()
    assert [line.rpartition("/")[0] for line in said] == [
        f"vmid 0: 300000000 mark of 0./ {untouched}",
        "vmid 1: 300000000 mark of 1./ mark of 1.",
        f"vmid 2: 300000000 mark of 2./ {untouched}",
        "vmid 3: 300000000 mark of 1./ mark of 3.",
    ]
    assert layers_in(place), "the master has its disk"
    family.end(family.master)
    family.until(lambda: 0 in family.codes)
    assert not layers_in(place)


def test_on_the_command_line(gc: Any, vms: None, tmp_path: Path) -> None:
    said = gc("run", "--hypervisor", "qemu", "--disk", "1", "--", "true")
    assert said.returncode == 2
    assert "--disk 1: expected 64M to 1024G, as 4G" in said.stderr
    said = gc("run", "--hypervisor", "qemu", "--disk", "1024G", "--", "true", GRIDCENTRIC_DISKS=str(tmp_path))
    assert said.returncode == 1
    assert f"does not fit in {tmp_path}" in said.stderr
    program = gc.machine("sh", "-c", "df --output=fstype,size -m / | tail -n 1; mount | grep -o '/dev/vdb.*ext4'; cat",
                         disk="512M")  # fmt: skip
    assert program.stdout is not None
    assert "512" > program.stdout.readline().split()[-1] > "4"
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    gc.wait_for_end_of_all()
    assert gc("host", "--gc").returncode == 0


def test_a_layer_that_can_not_be_written_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    base = disk.Layer(os.memfd_create("base"), "raw")
    frozen = disk.Frozen(64 << 20, [base])
    before = held("deleted")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskError, match=f"can't be written in {disk.place()}: No space left on device"):
        Disk.over(frozen)
    assert held("deleted") == before
    frozen.release()
    assert base.users == 1, "nobody else has it"
    base.release()
