"""Packs files as the archive that a kernel unpacks as its first file system (cpio's newc format)."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO


class Archive:
    """Files are added by the path they have inside; the folders above them come by themselves."""

    def __init__(self, to: BinaryIO) -> None:
        self._to = to
        self._names: set[str] = set()

    def _entry(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        if name in self._names:
            return
        self._names.add(name)
        if name != "TRAILER!!!" and (above := name.rpartition("/")[0]):
            self._entry(above, stat.S_IFDIR | 0o755)
        path = name.encode() + b"\0"
        fields = [len(self._names), mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        self._to.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))

    def folder(self, name: str, mode: int = 0o755) -> None:
        self._entry(name.strip("/"), stat.S_IFDIR | mode)

    def device(self, name: str, major: int, minor: int) -> None:
        self._entry(name.strip("/"), stat.S_IFCHR | 0o666, device=(major, minor))

    def link(self, name: str, target: str) -> None:
        self._entry(name.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def text(self, name: str, text: str, mode: int = 0o644) -> None:
        self._entry(name.strip("/"), stat.S_IFREG | mode, text.encode())

    def file(self, name: str, source: Path) -> None:
        if source.is_symlink():
            self.link(name, str(source.readlink()))
        elif source.is_file():
            self._entry(name.strip("/"), stat.S_IFREG | (source.stat().st_mode & 0o7777), source.read_bytes())

    def close(self) -> None:
        self._entry("TRAILER!!!", 0)
