"""A program's input and output as descriptors of whoever started it: a terminal, pipes or files. Never blocks the loop, and
never changes their mode, for they are shared with other processes.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Awaitable, Callable

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
    if not _is_now(fd, select.POLLIN):
        loop = asyncio.get_running_loop()
        await _called(fd, loop.add_reader, loop.remove_reader)


async def writable(fd: int) -> None:
    """Returns when the descriptor can be written."""
    if not _is_now(fd, select.POLLOUT):
        loop = asyncio.get_running_loop()
        await _called(fd, loop.add_writer, loop.remove_writer)


def _is_now(fd: int, what: int) -> bool:
    """A file always is: epoll(7) would refuse it."""
    poll = select.poll()
    poll.register(fd, what)
    return bool(poll.poll(0))


async def _called(fd: int, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
    """Returns when the loop has called what was added for the descriptor."""
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


class Input:
    """Hands on what can be read until its end, which is b"", or close(). `take` returns when it has room for more; nothing is
    read before."""

    def __init__(self, fd: int, take: Callable[[bytes], Awaitable[None]]) -> None:
        self._fd = fd
        self._take = take
        self._task = asyncio.create_task(self._read())

    def close(self) -> None:
        self._task.cancel()

    async def _read(self) -> None:
        data = b"."
        while data:
            try:
                await readable(self._fd)
                data = os.read(self._fd, READ)
            except OSError:  # closed, or a terminal that has hung up
                data = b""
            await self._take(data)
            await asyncio.sleep(0)  # a file can always be read: others have their turn
