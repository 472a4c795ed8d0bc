"""The host's socket for the VMs of other computers. Each connection of a VM's program goes over a separate link: Door is
the end on the VM's computer, where the qemu hypervisor connects to the host, answer() the end where the host is.

What makes a connection speak for a domain, the host's key, is added here by answer() and never leaves the host's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Awaitable, Callable

from gridcentric.hypervisors.ray.link import LinkError

PURPOSE = "guest"
_PIECE = 65536
_HELLO = re.compile(rb"gridcentric/\d{1,3} as [^ ]+ \d+ key=\n")


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way, and the end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def join(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both have ended; both are closed."""
    with contextlib.ExitStack() as undo:
        undo.callback(one.close)
        undo.callback(other.close)
        reader, writer = await asyncio.open_connection(sock=one)
        undo.callback(writer.close)
        there_reader, there_writer = await asyncio.open_connection(sock=other)
        undo.callback(there_writer.close)
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))


class Door:
    """A Unix socket that leads to the host. All methods belong to one asyncio loop."""

    def __init__(self, path: str, uid: int, way: Callable[[], Awaitable[socket.socket]]) -> None:
        """uid: the user who may come. way: a new link to the host."""
        self._path = path
        self._uid = uid
        self._way = way
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._come, self._path)

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there_writer: asyncio.StreamWriter | None = None
        try:
            _, uid, _ = struct.unpack(
                "3i", writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            )
            if uid != self._uid:
                return
            with contextlib.suppress(LinkError):
                there_reader, there_writer = await asyncio.open_connection(sock=await self._way())
                await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
        finally:
            writer.close()
            if there_writer is not None:
                there_writer.close()


async def answer(connection: socket.socket, host: str, key: str) -> None:
    """Carry a link of a Door to the host's socket. key: the host's, for those who speak for domains. Raises OSError."""
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        hello = await reader.readline()
        if not _HELLO.fullmatch(hello):
            return
        there_reader, there_writer = await asyncio.open_unix_connection(host)
        try:
            there_writer.write(hello[:-1] + key.encode() + b"\n")
            await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
        finally:
            there_writer.close()
    except ValueError:  # a line that never ends
        return
    finally:
        writer.close()
