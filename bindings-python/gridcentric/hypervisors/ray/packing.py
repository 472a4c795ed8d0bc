"""What clones start from, and images, as objects of Ray's object store: RAM without its holes. Nothing is compressed: zlib
at its fastest is slower than a network of 1 Gbit/s (docs/cluster.md).

Ray writes objects to files when its store is full. These have the rights that Ray gives them, so a VM's state goes only to
where other users can't enter the folder that Ray writes to.
"""

from __future__ import annotations

import mmap
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcentric.hypervisors.qemu import ram

_PIECE = 32 << 20


@dataclass
class Packed:
    """RAM and device state. The pieces lie in memory that this process has mapped, here or in the store."""

    size: int
    pieces: list[tuple[int, Any]]  # offset, and what has a buffer
    state: bytes


def pack(memory: int, size: int, state: int) -> Packed:
    """Of the two files; nothing is copied yet."""
    whole = memoryview(mmap.mmap(memory, size, mmap.MAP_SHARED, mmap.PROT_READ))  # unmapped with the last piece
    pieces = [
        (at, pickle.PickleBuffer(whole[at : min(at + _PIECE, end)]))
        for start, end in ram.extents(memory, size)
        for at in range(start, end, _PIECE)
    ]
    return Packed(size, pieces, os.pread(state, os.fstat(state).st_size, 0))


def unpack(packed: Packed) -> tuple[int, int]:
    """Two files of one's own: memory and state."""
    memory = ram.create(packed.size)
    state = ram.create(0)
    try:
        for at, piece in packed.pieces:
            _write(memory, memoryview(piece), at)
        _write(state, memoryview(packed.state), 0)
    except BaseException:
        os.close(memory)
        os.close(state)
        raise
    return memory, state


def _write(fd: int, data: memoryview, at: int) -> None:
    while len(data):
        written = os.pwrite(fd, data, at)
        at, data = at + written, data[written:]


def kept_private_by(folder: Path) -> str:
    """The folder on the way to this one that keeps others of this computer out; nothing: any user can enter it."""
    for part in (folder, *folder.parents):
        found = part.stat()
        if found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o077:
            return str(part)
    return ""
