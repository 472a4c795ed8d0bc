"""The guest protocol (docs/protocol.md) for a process that is in no domain: it speaks for another one, or observes.

The guest library speaks for the process that it is loaded into. This one has many calls open at once without threads, and
knows nothing of what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

from gridcentric import Error, HostUnreachable, ProtocolError
from gridcentric._native import ERRORS

_CLASSES: dict[str, type[Error]] = {error.code: error for error in ERRORS}
LINE_LIMIT = 1 << 16


class Host:
    """A connection to a host. Every call raises HostUnreachable once it has ended."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._path, self._reader, self._writer = path, reader, writer
        self._open: dict[str, asyncio.Future[list[list[str]]]] = {}
        self._items: dict[str, list[list[str]]] = {}
        self._number = 0
        self._reading: asyncio.Task[None]
        self.family = self.ip = ""  # of the domain that is spoken for

    @classmethod
    async def connect(cls, path: str, role: str) -> Host:
        """role: as docs/protocol.md has it under "Handshake"."""
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_LIMIT)
        except OSError as error:
            raise HostUnreachable(f"the host at 'unix:{path}' cannot be reached: {error.strerror or error}") from error
        host = cls(path, reader, writer)
        try:
            host._check_owner()
            writer.write(f"gridcentric/1 {role}\n".encode())
            fields = await host._line()
            if fields[1] != "ok":
                raise _error(fields[2:])
        except BaseException:
            writer.close()
            raise
        host.family, host.ip = fields[2], fields[4]
        host._reading = asyncio.ensure_future(host._read())
        return host

    async def call(self, *words: object) -> list[list[str]]:
        """The fields of each item of the reply, those of its `ok` last. Raises the error that the host replies."""
        if self._reading.done():
            raise self._ended()
        self._number += 1
        number = str(self._number)
        reply: asyncio.Future[list[list[str]]] = asyncio.get_running_loop().create_future()
        self._open[number], self._items[number] = reply, []
        self._writer.write(f"{number} {' '.join(map(str, words))}\n".encode())
        try:
            return await reply
        finally:
            self._open.pop(number, None)
            self._items.pop(number, None)

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def ended(self) -> None:
        """Returns when the host has ended the connection."""
        await asyncio.wait([self._reading])

    def _check_owner(self) -> None:
        """A host of another user could say anything."""
        own: socket.socket = self._writer.get_extra_info("socket")
        _, uid, _ = struct.unpack("iII", own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()):
            raise HostUnreachable(f"the host at 'unix:{self._path}' belongs to user {uid}, expected yourself or root")

    async def _line(self) -> list[str]:
        try:
            line = await self._reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, OSError) as error:
            raise self._ended() from error
        except asyncio.LimitOverrunError as error:
            raise ProtocolError(f"the host at 'unix:{self._path}' sent a line of more than {LINE_LIMIT} bytes") from error
        fields = line.decode(errors="replace").rstrip("\n").split(" ")
        if len(fields) < 2:
            raise ProtocolError(f"the host at 'unix:{self._path}' sent {line[:80]!r}")
        return fields

    async def _read(self) -> None:
        failure: Error = self._ended()
        try:
            while True:
                number, kind, *fields = await self._line()
                reply = self._open.get(number)
                if reply is None or reply.done():
                    continue  # the caller did not wait for it
                if kind == "item":
                    self._items[number].append(fields)
                elif kind == "ok":
                    reply.set_result([*self._items[number], fields])
                else:
                    reply.set_exception(_error(fields))
        except Error as error:
            failure = error
        finally:
            for reply in self._open.values():
                if not reply.done():
                    reply.set_exception(failure)

    def _ended(self) -> HostUnreachable:
        return HostUnreachable(f"the host at 'unix:{self._path}' has ended")


def _error(fields: list[str]) -> Error:
    code, text = fields[0], " ".join(fields[1:])
    return _CLASSES.get(code, ProtocolError)(text)
