"""Guest RAM as memfds: sparse, anonymous, gone with the last process that has them open."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_MADV_POPULATE_READ, _MADV_POPULATE_WRITE = 22, 23

# What a clone may take beyond what it shares with others before it counts as not fitting: QEMU's own and its first writes.
CLONE_NEEDS = 48 << 20
# Of this a machine that waits has taken its share already.
WAITING_HAS = 20 << 20


def create(size: int) -> int:
    """An empty RAM of this many bytes."""
    fd = os.memfd_create("gridcentric-ram", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd


def available() -> int:
    """Bytes that new RAM may take before the machine swaps or kills (proc(5), MemAvailable)."""
    with Path("/proc/meminfo").open() as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0


def shortage(needed: int) -> str:
    """Why this many bytes of memory are not available, or nothing."""
    free = available()
    if needed <= free:
        return ""
    return f"this needs about {needed >> 20} MiB of memory, and {free >> 20} MiB are free: fewer or smaller machines (--memory)"


def used(fd: int) -> int:
    """Bytes of a RAM that are really there."""
    return os.fstat(fd).st_blocks * 512


def extents(fd: int, size: int) -> list[tuple[int, int]]:
    """What is really there of a RAM: (from, to) each."""
    found, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, at))
    return found


@contextlib.contextmanager
def ready_to_copy(source: int, target: int, size: int) -> Iterator[Callable[[], None]]:
    """What copies what is there of one RAM into another, empty one, when it is called.

    Memory to memory, without Python's buffers in between, as the master stands still meanwhile. For the same reason both are
    mapped before, with the pages that are there by then: to fault them in one by one takes four times as long as the copy.
    """
    here = _map(source, size, mmap.PROT_READ)
    there = _map(target, size, mmap.PROT_READ | mmap.PROT_WRITE)

    def copy() -> None:
        for start, end in extents(source, size):
            ctypes.memmove(there + start, here + start, end - start)

    try:
        for start, end in extents(source, size):  # a kernel before 5.14 refuses: the copy takes longer
            _libc.madvise(here + start, end - start, _MADV_POPULATE_READ)
            _libc.madvise(there + start, end - start, _MADV_POPULATE_WRITE)
        yield copy
    finally:
        _libc.munmap(here, size)
        _libc.munmap(there, size)


def _map(fd: int, size: int, protection: int) -> int:
    address = _libc.mmap(None, size, protection, mmap.MAP_SHARED, fd, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "mmap of guest RAM")
    return int(address)
