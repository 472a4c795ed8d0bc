"""A program's input and output as descriptors of whoever started it: a terminal, pipes or files. Never blocks the loop, and
never changes their mode, for they are shared with other processes.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable

# A pipe that is writable takes this much at once (pipe(7), PIPE_BUF).
PIECE = 4096
READ = 32768


class Output:
    """Writes in the order of the calls. All methods belong to one asyncio loop."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._turn = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        """Returns when all is written; OSError when nobody reads it any more."""
        async with self._turn:
            while data:
                await writable(self._fd)
                data = data[os.write(self._fd, data[:PIECE]) :]


async def readable(fd: int) -> None:
    """Returns when the descriptor can be read."""
    loop = asyncio.get_running_loop()
    await _called(fd, loop.add_reader, loop.remove_reader)


async def writable(fd: int) -> None:
    """Returns when the descriptor can be written. A file always can: epoll(7) would refuse it."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if poll.poll(0):
        return
    loop = asyncio.get_running_loop()
    await _called(fd, loop.add_writer, loop.remove_writer)


async def _called(fd: int, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
    """Returns when the loop has called what was added for the descriptor."""
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


class Input:
    """Hands on what can be read until close(); b"" is the end."""

    def __init__(self, fd: int, take: Callable[[bytes], None]) -> None:
        self._fd = fd
        self._take = take
        self._task: asyncio.Task[None] | None = None
        self._watched = False
        try:
            asyncio.get_running_loop().add_reader(fd, self._readable)
            self._watched = True
        except PermissionError:  # a file, which is always readable: epoll(7) refuses it
            self._task = asyncio.create_task(self._read_file())
        except OSError:  # closed
            take(b"")

    def close(self) -> None:
        if self._watched:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._watched = False
        if self._task is not None:
            self._task.cancel()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ)
        except OSError:  # a terminal that has hung up
            data = b""
        if not data:
            self.close()
        self._take(data)

    async def _read_file(self) -> None:
        while data := os.read(self._fd, READ):
            self._take(data)
            await asyncio.sleep(0)
        self._take(b"")
