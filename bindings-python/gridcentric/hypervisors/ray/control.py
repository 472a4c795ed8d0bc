"""Messages between the host and one computer over a link, in order: what is told, what is asked and the answers. A side that
is gone or silent is noticed. Knows nothing of what the messages mean.

A message is two lengths of four bytes, a line of JSON [number, verb, arguments] and data. A number above 0 asks, 0 tells,
one below answers, with "ok" or "error" as its verb.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

ALIVE_S = 2  # each side says something at least this often
SILENCE_S = 20  # a cut of ten seconds is not an end
MAX_HEAD, MAX_DATA = 8 << 20, 1 << 20


class ControlError(Exception):
    """What was asked could not be done, or the other side is gone; the text says why."""


class Control:
    """One side. All methods belong to one asyncio loop."""

    def __init__(self, sock: socket.socket, handlers: Mapping[str, Callable[..., Any]]) -> None:
        """handlers: by verb, called with the arguments and, when there is data, that; in the order of the messages. What
        returns a coroutine goes on beside the next messages."""
        self._sock = sock
        self._handlers = handlers
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._last = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter
        self.over = asyncio.Event()

    async def run(self) -> str:
        """Take messages until the connection ends, which it does by close(); why."""
        reader, self._writer = await asyncio.open_connection(sock=self._sock, limit=MAX_HEAD)
        beat = asyncio.create_task(self._beat())
        try:
            return await self._read(reader)
        finally:
            beat.cancel()
            self.over.set()
            self._writer.transport.abort()
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(ControlError("the computer is gone"))
                    future.exception()  # nobody may be waiting
            for task in self._tasks:
                task.cancel()

    def close(self) -> None:
        self._writer.transport.abort()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_S)
            self.tell("alive")

    async def _read(self, reader: asyncio.StreamReader) -> str:
        try:
            while True:
                # The time-out is for a whole message: one of the largest takes less on any network that VMs can be cloned over.
                number, verb, arguments, data = await asyncio.wait_for(_message(reader), SILENCE_S)
                self._take(number, verb, [*arguments, data] if data else arguments)
        except asyncio.TimeoutError:
            return f"nothing was heard of it for {SILENCE_S} s"
        except (OSError, EOFError):
            return "its connection has ended"
        except ValueError as error:
            return f"it can't be understood: {error}"

    def _take(self, number: int, verb: str, arguments: list[Any]) -> None:
        if number < 0:
            future = self._asked.pop(-number, None)
            if future is not None and not future.done():
                if verb == "ok":
                    future.set_result(arguments[0])
                else:
                    future.set_exception(ControlError(str(arguments[0])))
        elif verb != "alive":
            result = self._handlers[verb](*arguments)
            if asyncio.iscoroutine(result):
                self._spawn(self._answer(number, result))
            elif number:
                self._say(-number, "ok", [result])

    async def _answer(self, number: int, work: Coroutine[Any, Any, Any]) -> None:
        try:
            result, verb = await work, "ok"
        except Exception as error:  # the other side is told, whatever it was
            result, verb = str(error) or repr(error), "error"
        if number:
            self._say(-number, verb, [result])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def tell(self, verb: str, *arguments: Any, data: bytes = b"") -> None:
        self._say(0, verb, list(arguments), data)

    async def ask(self, verb: str, *arguments: Any, data: bytes = b"") -> Any:
        """The answer. Raises ControlError."""
        if self.over.is_set():
            raise ControlError("the computer is gone")
        self._last += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[self._last] = future
        self._say(self._last, verb, list(arguments), data)
        return await future

    def _say(self, number: int, verb: str, arguments: list[Any], data: bytes = b"") -> None:
        head = json.dumps([number, verb, arguments]).encode()
        with contextlib.suppress(OSError, RuntimeError):  # it has ended: _read() says so
            self._writer.write(struct.pack("<II", len(head), len(data)) + head + data)


async def _message(reader: asyncio.StreamReader) -> tuple[int, str, list[Any], bytes]:
    head, data = struct.unpack("<II", await reader.readexactly(8))
    if head > MAX_HEAD or data > MAX_DATA:
        raise ValueError(f"a message of {head} and {data} bytes")
    number, verb, arguments = json.loads(await reader.readexactly(head))
    return number, verb, arguments, await reader.readexactly(data)
