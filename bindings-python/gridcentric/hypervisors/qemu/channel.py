"""The agent's channel, this side: frames of core/agent/frames.hpp. Connections of processes in the VM are carried to the
host, each as one connection of its own on which this driver says for which domain it speaks; control lines are asked
and answered. Carries bytes; the one thing it reads is a connection's first line and where a `clone` call is open.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

CONTROL, OPEN, DATA, CLOSE = range(4)
MAX_PAYLOAD = 32768
MAX_FIRST_LINE = 4096
OWN_STREAMS = 0x80000000  # streams from here on are the agent's: connections of processes


class ChannelError(Exception):
    """The agent did not answer as it should; the text says what it was asked."""


@dataclass
class _Stream:
    first_line: bytes | None = b""  # collected until its newline has come; None: the handshake is over
    line: bytes = b""  # the unfinished last line from the guest
    writer: asyncio.StreamWriter | None = None
    task: asyncio.Task[None] | None = None


class Channel:
    """One machine's agent. All methods belong to one asyncio loop.

    host: path of the host's socket. introduction: the line that says for which domain a connection speaks.
    on_output(stream, bytes) gets what programs started with run() write (nothing more is read until it has taken it),
    on_exit(stream, code) their end.
    """

    def __init__(
        self,
        sock: socket.socket,
        host: str,
        introduction: str,
        on_output: Callable[[int, bytes], Awaitable[None]],
        on_exit: Callable[[int, int], None],
    ) -> None:
        self._sock = sock
        self._host = host
        self._introduction = introduction.encode() + b"\n"
        self._on_output = on_output
        self._on_exit = on_exit
        self._streams: dict[int, _Stream] = {}
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._last_id = 0
        self._clone_calls: dict[str, tuple[int, str]] = {}  # ticket -> stream and ID of the call
        self._writer: asyncio.StreamWriter
        self._reader_task: asyncio.Task[None]
        self.up: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._sock)
        self._reader_task = asyncio.create_task(self._read(reader))

    def close(self) -> None:
        self._reader_task.cancel()
        self._writer.close()
        for number in list(self._streams):
            self._drop(number)
        for future in (*self._asked.values(), self.up):
            if not future.done():
                future.set_exception(ChannelError("the machine is gone"))
                future.exception()  # nobody may be waiting

    def clone_call(self, ticket: str) -> tuple[int, str] | None:
        """Stream and ID of the call that asked for this ticket's cloning."""
        return self._clone_calls.pop(ticket, None)

    # --- control ---------------------------------------------------------------------------------------------

    async def ask(self, verb: str, *arguments: object) -> None:
        """Say `verb ID arguments` and wait until it is done; ChannelError says what could not be done."""
        self._last_id += 1
        number = self._last_id
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self._say(" ".join([verb, str(number), *map(str, arguments)]))
        try:
            trouble = await future
        finally:
            self._asked.pop(number, None)
        if trouble:
            raise ChannelError(f"the agent could not {verb}: {trouble}")

    def run(self, stream: int, folder: str, command: list[str]) -> None:
        self._say(" ".join(["run", str(stream), quote(folder), *(quote(word, safe="/") or "%00" for word in command)]))

    def write(self, stream: int, data: bytes) -> None:
        """Input of a program; b"" is its end."""
        if not data:
            self._frame(stream, CLOSE, b"")
        for start in range(0, len(data), MAX_PAYLOAD):
            self._frame(stream, DATA, data[start : start + MAX_PAYLOAD])

    def _say(self, line: str) -> None:
        self._frame(0, CONTROL, line.encode())

    def _frame(self, stream: int, kind: int, payload: bytes) -> None:
        self._writer.write(struct.pack("<II", stream, len(payload) | kind << 24) + payload)

    # --- from the machine --------------------------------------------------------------------------------------

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                stream, word = struct.unpack("<II", await reader.readexactly(8))
                length, kind = word & 0xFFFFFF, word >> 24
                if length > MAX_PAYLOAD or kind > CLOSE:
                    return  # not an agent; the machine is left to itself and hears nothing more
                payload = await reader.readexactly(length)
                await self._take(stream, kind, payload)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            if not self.up.done():
                self.up.set_exception(ChannelError("the machine ended before its agent was up"))
                self.up.exception()

    async def _take(self, number: int, kind: int, payload: bytes) -> None:
        if kind == CONTROL:
            return self._control(payload.decode(errors="replace"))
        if kind == OPEN and number >= OWN_STREAMS:
            self._streams[number] = _Stream()
            return None
        if number < OWN_STREAMS:
            if kind == DATA:
                await self._on_output(number, payload)
            return None
        stream = self._streams.get(number)
        if stream is None:
            return None
        if kind == CLOSE:
            self._drop(number)
        elif kind == DATA:
            await self._from_process(number, stream, payload)
        return None

    def _control(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        if verb == "up":
            if not self.up.done():
                self.up.set_result(rest)
        elif verb == "done":
            number, _, trouble = rest.partition(" ")
            future = self._asked.get(int(number)) if number.isdigit() else None
            if future is not None and not future.done():  # an unknown number: said before the machine was cloned
                future.set_result(trouble)
        elif verb == "exited":
            words = rest.split()
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
                self._on_exit(int(words[0]), int(words[1]))

    async def _from_process(self, number: int, stream: _Stream, data: bytes) -> None:
        if stream.first_line is not None:
            stream.first_line += data
            if b"\n" not in stream.first_line:
                if len(stream.first_line) > MAX_FIRST_LINE:
                    self._end(number)
                return
            first, _, data = stream.first_line.partition(b"\n")
            stream.first_line = None
            words = first.split(b" ")
            if len(words) < 2 or words[1] not in (b"attach", b"ask"):
                text = b"gridcentric/1 error protocol in a VM the roles are attach and ask\n"
                self._frame(number, DATA, text)
                self._end(number)
                return
            # The version is the guest's own word; who it is is this driver's.
            hello = words[0] + b" " + self._introduction
            if not await self._connect(number, stream, hello, 0):
                return
        self._note_clone_calls(number, stream, data)
        if stream.writer is not None and data:
            stream.writer.write(data)
            await stream.writer.drain()

    def _note_clone_calls(self, number: int, stream: _Stream, data: bytes) -> None:
        *lines, stream.line = (stream.line + data).split(b"\n")
        stream.line = stream.line[-MAX_FIRST_LINE:]
        for line in lines:
            words = line.split(b" ")
            if len(words) == 3 and words[1] == b"clone":
                self._clone_calls[words[2].decode(errors="replace")] = (number, words[0].decode(errors="replace"))

    # --- to the host ---------------------------------------------------------------------------------------------

    async def _connect(self, number: int, stream: _Stream, hello: bytes, swallow: int) -> bool:
        try:
            reader, stream.writer = await asyncio.open_unix_connection(self._host)
        except OSError:
            self._end(number)
            return False
        stream.writer.write(hello)
        stream.task = asyncio.create_task(self._from_host(number, reader, swallow))
        return True

    async def _from_host(self, number: int, reader: asyncio.StreamReader, swallow: int) -> None:
        try:
            for _ in range(swallow):
                await reader.readline()
            while data := await reader.read(MAX_PAYLOAD):
                self._frame(number, DATA, data)
                await self._writer.drain()
        except (OSError, ValueError):
            pass
        self._end(number)

    async def adopt(self, number: int, call: str, vmid: int) -> None:
        """In a clone: the connection whose `clone` call made it goes on, answered with its vmid."""
        stream = self._streams[number] = _Stream(first_line=None)
        if await self._connect(number, stream, b"gridcentric/1 " + self._introduction, 1):
            self._frame(number, DATA, f"{call} ok {vmid}\n".encode())

    def _end(self, number: int) -> None:
        """The host has ended a connection: so does the process's."""
        if number in self._streams:
            self._frame(number, CLOSE, b"")
            self._drop(number)

    def _drop(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if stream.writer is not None:
            stream.writer.close()
        if stream.task is not None and stream.task is not asyncio.current_task():
            stream.task.cancel()
