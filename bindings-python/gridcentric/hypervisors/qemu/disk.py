"""A machine's disk, for what its memory can't hold: layers, each a file without a name, so that nothing is left of them
whatever dies first. Knows QEMU's block devices; nothing of domains, RAM or how a machine is cloned.

The lowest layer is a file system, the others are qcow2. A machine writes to its top layer. freeze(), while it stands still,
puts an empty layer over that: what was on top is written no more, and layers of clones can lie on it as the machine's own
new one does. A layer is freed when the last disk that has it is closed.

Each freezing makes the chain of layers longer. When it is long, layers that no other disk has are merged (block-commit), and
one that is longer still is copied together (block-stream).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from qemu.qmp import QMPClient

from gridcentric.hypervisors.qemu.started_programs import tool_path

SHORT = 4  # layers: a chain of this length is left alone
LONG = 16  # layers: a longer one is copied together
MIN_FREE = 64 << 20  # bytes of the place: with less no disk is frozen, as its writes would soon fail
_CLUSTER = 1 << 16


class DiskError(OSError):
    """There is no disk; the text says why, and what to do."""


class Monitor(Protocol):
    """What a disk needs of its machine."""

    qmp: QMPClient

    def send(self, fd: int) -> None: ...
    async def execute(self, command: str, **arguments: Any) -> Any: ...
    async def ended(self) -> int: ...


def place() -> Path:
    """Where layers are: $GRIDCENTRIC_DISKS, else /var/tmp, which is a disk also where /tmp is memory."""
    return Path(os.environ.get("GRIDCENTRIC_DISKS") or "/var/tmp")


def _no_place(error: OSError) -> DiskError:
    return DiskError(f"no disk can be made in {place()}: {error.strerror} (GRIDCENTRIC_DISKS names another folder)")


def _free() -> int:
    try:
        found = os.statvfs(place())
    except OSError as error:
        raise _no_place(error) from error
    return found.f_bavail * found.f_frsize


def _nameless() -> int:
    try:
        with tempfile.TemporaryFile(dir=place()) as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise _no_place(error) from error


def _file_system(size: int) -> int:
    """A file of this size with an empty ext4: as little of it as can be, as it never outlives its machine."""
    mke2fs = shutil.which("mke2fs", path=tool_path())
    if mke2fs is None:
        raise DiskError("--disk needs mke2fs to make the file system: apt-get install e2fsprogs")
    fd = _nameless()
    try:
        os.ftruncate(fd, size)
        features = ["-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-m", "0"]
        command = [mke2fs, "-q", "-F", "-t", "ext4", *features, f"/proc/self/fd/{fd}"]
        made = subprocess.run(command, pass_fds=[fd], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            said = made.stderr.strip().splitlines()
            raise DiskError(f"mke2fs could not make a file system of {size >> 20} MiB: {said[-1] if said else made.returncode}")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _empty_qcow2(size: int) -> int:
    """A file with nothing in it (docs/interop/qcow2.txt of QEMU, version 3): what it is laid over shows through.

    Written here, as qemu-img comes in another package. Clusters: header, table of reference counts, one block of them, L1
    table.
    """
    entries = -(-size // (_CLUSTER * _CLUSTER // 8))
    clusters = 3 + -(-entries * 8 // _CLUSTER)
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 16, size, 0, entries, 3 * _CLUSTER, _CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104
    )
    fd = _nameless()
    try:
        os.ftruncate(fd, clusters * _CLUSTER)
        os.pwrite(fd, header, 0)
        os.pwrite(fd, struct.pack(">Q", 2 * _CLUSTER), _CLUSTER)
        os.pwrite(fd, struct.pack(">H", 1) * clusters, 2 * _CLUSTER)
    except OSError as error:
        os.close(fd)
        raise DiskError(f"a layer of a disk can't be written in {place()}: {error.strerror}") from error
    return fd


class Layer:
    """One file; as many users as disks and frozen chains have it."""

    def __init__(self, fd: int, driver: str) -> None:
        self.fd = fd
        self.driver = driver
        self.users = 1

    def hold(self) -> Layer:
        self.users += 1
        return self

    def release(self) -> None:
        self.users -= 1
        if self.users == 0:
            os.close(self.fd)

    def reopened(self, flags: int) -> int:
        """The file anew: QEMU looks for a descriptor with just these flags."""
        return os.open(f"/proc/self/fd/{self.fd}", flags | os.O_CLOEXEC)


class Frozen:
    """A chain of layers that nobody writes any more. The holder's to release."""

    def __init__(self, size: int, layers: list[Layer]) -> None:
        self.size = size
        self.layers = [layer.hold() for layer in layers]

    def release(self) -> None:
        for layer in self.layers:
            layer.release()
        self.layers = []


class Disk:
    """The disk of one machine. All methods belong to one asyncio loop."""

    def __init__(self, size: int, layers: list[Layer]) -> None:
        self.size = size
        self._layers = dict(enumerate(layers))  # lowest first, by the number that QEMU's nodes and sets of descriptors have
        self._first = self._last = len(layers) - 1  # its own begin here: those below QEMU has for reading only
        self._prepared: Layer | None = None

    @classmethod
    def new(cls, size: int) -> Disk:
        """An empty one. Takes a moment: not for the loop's thread. Raises DiskError."""
        free = _free()
        if size > free:
            raise DiskError(
                f"a disk of {size >> 20} MiB does not fit in {place()}, where {free >> 20} MiB are free: "
                "a smaller one (--disk), or another folder (GRIDCENTRIC_DISKS)"
            )
        base = Layer(_file_system(size), "raw")
        try:
            return cls(size, [base, Layer(_empty_qcow2(size), "qcow2")])
        except BaseException:
            base.release()
            raise

    @classmethod
    def over(cls, frozen: Frozen) -> Disk:
        """One of its own layer over a frozen chain."""
        _check_space()
        own = Layer(_empty_qcow2(frozen.size), "qcow2")
        return cls(frozen.size, [*(layer.hold() for layer in frozen.layers), own])

    def close(self) -> None:
        """The machine is gone."""
        for layer in (*self._layers.values(), *([] if self._prepared is None else [self._prepared])):
            layer.release()
        self._layers, self._prepared = {}, None

    def __len__(self) -> int:
        return len(self._layers)

    # --- the command line ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def attached(self) -> Iterator[tuple[list[str], list[int]]]:
        """The options of QEMU, and the descriptors that it must be passed."""
        options, opened = [], []
        try:
            for number, layer in self._layers.items():
                on_top = number == self._last
                opened.append(layer.reopened(os.O_RDWR if on_top else os.O_RDONLY))
                options += ["-add-fd", f"fd={opened[-1]},set={number}"]
                below = "" if number == 0 else f",backing={_node(number - 1)}"
                access = "off" if on_top else "on"
                node = f"driver={layer.driver},node-name={_node(number)},read-only={access},cache.no-flush=on{below}"
                node += f",file.driver=file,file.filename=/dev/fdset/{number},file.locking=off,file.read-only={access}"
                options += ["-blockdev", node]
            # A full place is an error of the machine's program. QEMU's own way is to stop the machine, for whom it may concern.
            options += ["-device", f"virtio-blk-pci,drive={_node(self._last)},werror=report,rerror=report"]
            yield options, opened
        finally:
            for fd in opened:
                os.close(fd)

    # --- while the machine lives ---------------------------------------------------------------------------------------

    async def prepare(self, machine: Monitor) -> None:
        """Make the layer that the next freeze() will put on top; merge those there are too many of."""
        if self._prepared is not None:  # for a freezing that did not come about
            return
        _check_space()
        await self._shorten(machine)
        layer = Layer(_empty_qcow2(self.size), "qcow2")
        number = self._last + 1
        try:
            for flags in (os.O_RDWR, os.O_RDONLY):
                fd = layer.reopened(flags)
                try:
                    machine.send(fd)
                    await machine.execute("add-fd", **{"fdset-id": number})
                finally:
                    os.close(fd)
            await machine.execute(
                "blockdev-add",
                **{"driver": "qcow2", "node-name": _node(number), "backing": None, "cache": {"no-flush": True},
                   "file": {"driver": "file", "filename": f"/dev/fdset/{number}", "locking": "off"}},
            )  # fmt: skip
        except BaseException:
            layer.release()
            raise
        self._prepared = layer

    async def freeze(self, machine: Monitor) -> Frozen:
        """While the machine stands still, after prepare(): what it has written so far, for clones."""
        assert self._prepared is not None
        await machine.execute("blockdev-snapshot", node=_node(self._last), overlay=_node(self._last + 1))
        frozen = Frozen(self.size, list(self._layers.values()))
        self._last += 1
        self._layers[self._last], self._prepared = self._prepared, None
        return frozen

    async def _shorten(self, machine: Monitor) -> None:
        if len(self._layers) <= SHORT:
            return
        numbers = list(self._layers)
        others = [at for at, number in enumerate(numbers) if self._layers[number].users > 1]
        # Nobody else's, and not the top, which the machine goes on writing.
        own = [number for number in numbers[max(others, default=-1) + 1 : -1] if number >= self._first]
        if len(own) > 1:
            await self._job(machine, "block-commit", **{"top-node": _node(own[-1]), "base-node": _node(own[0])})
            await self._forget(machine, own[1:])
        if len(self._layers) > LONG:
            await self._job(machine, "block-stream", **{"base-node": _node(0)})
            await self._forget(machine, list(self._layers)[1:-1])

    async def _job(self, machine: Monitor, command: str, **arguments: Any) -> None:
        with machine.qmp.listener("BLOCK_JOB_COMPLETED") as events:
            await machine.execute(command, device=_node(self._last), **{"job-id": "merge"}, **arguments)
            over, gone = asyncio.ensure_future(events.get()), asyncio.ensure_future(machine.ended())
            await asyncio.wait({over, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not over.done():
                over.cancel()
                raise DiskError(f"the machine ended during {command}")
            data: Any = over.result()["data"]
            if "error" in data:
                raise DiskError(f"{command}: {data['error']}")

    async def _forget(self, machine: Monitor, numbers: list[int]) -> None:
        """These are merged into another."""
        for number in reversed(numbers):  # the upper ones use the lower ones
            await machine.execute("blockdev-del", **{"node-name": _node(number)})
            await machine.execute("remove-fd", **{"fdset-id": number})
            self._layers.pop(number).release()


def stand_in(size: int) -> list[str]:
    """The options of a disk for a machine that never runs."""
    return ["-blockdev", f"driver=null-co,node-name=disk,size={size},read-zeroes=on", "-device", "virtio-blk-pci,drive=disk"]


def _node(number: int) -> str:
    return f"layer{number}"


def _check_space() -> None:
    free = _free()
    if free < MIN_FREE:
        raise DiskError(f"{free >> 20} MiB are free in {place()}, where the disks of the machines are: too little for another")
