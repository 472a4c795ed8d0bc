"""A machine's console, or what its QEMU complains of: the last words, for when it does not come up. A guest that floods either
fills neither disk nor memory."""

from __future__ import annotations

import asyncio
import contextlib
import socket

KEPT = 16 << 10  # bytes
_PIECE = 64 << 10


class Console:
    """Read all the time, as a console that nobody reads holds its machine up. Belongs to one asyncio loop."""

    def __init__(self) -> None:
        self._here, self.there = socket.socketpair()  # there: for QEMU, and to be closed when it has it
        self._here.setblocking(False)
        self._last = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._here, self._read)

    def _read(self) -> None:
        data = b""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            data = self._here.recv(_PIECE)
            if not data:
                self._loop.remove_reader(self._here)
        self._last += data
        del self._last[:-KEPT]

    def lines(self) -> list[str]:
        """The last ones that were written, also by a machine that is gone."""
        if self._here.fileno() >= 0:
            self._read()
        return self._last.decode(errors="replace").strip().splitlines()

    def why_it_ended(self) -> str:
        """What the kernel or gc-agent have given up with, else the last lines."""
        lines = self.lines()
        told = [line for line in lines if "Kernel panic" in line or line.startswith("gc-agent:")]
        return " / ".join((told or lines)[-3:])

    def close(self) -> None:
        if self._here.fileno() >= 0:
            self._read()
            self._loop.remove_reader(self._here)
        self._here.close()
        self.there.close()
