"""The archive format of an initramfs: "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def _entry(out: Sink, number: int, name: str, mode: int, data: bytes) -> None:
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))


def write_cpio(out: Sink, folders: Iterable[str], files: Iterable[tuple[str, bytes, int]]) -> None:
    """folders: names; files: (name, contents, permission bits). All owned by root, time 0."""
    number = 1
    for folder in folders:
        _entry(out, number, folder, 0o040755, b"")
        number += 1
    for name, data, mode in files:
        _entry(out, number, name, 0o100000 | mode, data)
        number += 1
    _entry(out, 0, "TRAILER!!!", 0, b"")
