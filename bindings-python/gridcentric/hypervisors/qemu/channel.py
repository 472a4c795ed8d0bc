"""The agent's channel, this side: frames of core/hypervisors/qemu/agent/frames.hpp. Connections of processes in the VM are
carried to the host, each as a separate connection on which this driver says for which domain it speaks; control lines are
asked and answered. Carries bytes; the one thing it reads is a connection's first line and where a `clone` call is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

CONTROL, OPEN, DATA, CLOSE, TAKEN, ERRORS = range(6)
MAX_PAYLOAD = 32768
WINDOW = 1 << 20  # bytes of a stream under way that the agent has not said to be taken
MAX_FIRST_LINE = 4096
MAX_CONNECTIONS = 1024  # of one machine; one more is closed at once
MAX_HELD = 4 * MAX_CONNECTIONS  # frames that wait until the machine runs again
OWN_STREAMS = 0x80000000  # streams from here on are the agent's: connections of processes


class ChannelError(Exception):
    """The agent did not answer as it should; the text says what it was asked."""


@dataclass
class _Stream:
    first_line: bytes | None = b""  # collected until its newline has come; None: the handshake is over
    line: bytes = b""  # the unfinished last line from the guest
    writer: asyncio.StreamWriter | None = None
    task: asyncio.Task[None] | None = None
    pending: deque[bytes] = field(default_factory=deque)  # for the process, and no room for it yet; b"": the end
    under_way: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)


def _number(text: str) -> int:
    """A number that a guest has written; -1 when it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1


class Channel:
    """One machine's agent. All methods belong to one asyncio loop.

    host: path of the host's socket. introduction: the line that says for which domain a connection speaks.
    on_output(stream, bytes, errors) gets what programs started with run() write, errors: to their standard error, if that is
    apart (nothing more is read until it has taken it),
    on_exit(stream, code) their end.
    """

    def __init__(
        self,
        sock: socket.socket,
        host: str,
        introduction: str,
        on_output: Callable[[int, bytes, bool], Awaitable[None]],
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
        self._over = ""  # why nothing more is heard of the agent
        self._held: list[bytes] | None = None  # frames that wait until the machine runs again
        self._flowing = asyncio.Event()  # nothing is held
        self._flowing.set()
        self._turn = asyncio.Lock()  # to wait for the writer: one at a time (Python 3.9)
        self._writer: asyncio.StreamWriter
        self._reader_task: asyncio.Task[None]
        self.up: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._sock)
        self._reader_task = asyncio.create_task(self._read(reader))

    def close(self) -> None:
        self._end("the machine is gone")
        self._reader_task.cancel()
        self._writer.close()
        for number in list(self._streams):
            self._drop(number)

    def _end(self, why: str) -> None:
        """The agent says nothing more: nobody waits for it any longer."""
        self._over = self._over or why
        self._flowing.set()
        for future in (*self._asked.values(), self.up):
            if not future.done():
                future.set_exception(ChannelError(self._over))
                future.exception()  # nobody may be waiting

    def clone_call(self, ticket: str) -> tuple[int, str] | None:
        """Stream and ID of the call that asked for this ticket's cloning."""
        return self._clone_calls.pop(ticket, None)

    # --- control ---------------------------------------------------------------------------------------------

    async def ask(self, verb: str, *arguments: object) -> None:
        """Say `verb ID arguments` and wait until it is done; ChannelError says what could not be done."""
        trouble = await self._begin(verb, *arguments)
        if trouble:
            raise ChannelError(f"the agent could not {verb}: {trouble}")

    def _begin(self, verb: str, *arguments: object) -> asyncio.Future[str]:
        self._last_id += 1
        number = self._last_id
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        future.add_done_callback(lambda _: self._asked.pop(number, None))
        if self._over:
            future.set_exception(ChannelError(self._over))
            return future
        self._say([verb, str(number), *map(str, arguments)])
        return future

    def _say(self, words: list[str]) -> None:
        line = " ".join(words).encode()
        for at in range(0, len(line) + 1, MAX_PAYLOAD):
            self._frame(0, CONTROL, line[at : at + MAX_PAYLOAD])

    async def quiesce(self) -> None:
        """All programs stand still, and nothing is under way on the channel in either direction, until go()."""
        done = self._begin("quiesce")
        self._held = []
        self._flowing.clear()
        try:
            trouble = await done
        except BaseException:
            self._unhold()
            raise
        if trouble:
            self._unhold()
            raise ChannelError(f"the agent could not quiesce: {trouble}")

    async def go(self) -> None:
        """The programs go on, here or in a clone."""
        self._unhold()
        await self.ask("go")

    def _unhold(self) -> None:
        held, self._held = self._held or [], None
        self._flowing.set()
        for frame in held:
            self._writer.write(frame)

    def run(self, stream: int, folder: str, command: list[str], apart: bool = False) -> None:
        """Start a program. apart: its standard error is told from its output; else both come in the order of its writes."""
        self._streams[stream] = _Stream(first_line=None)
        arguments = [quote(os.fsencode(word), safe="/") or "%00" for word in command]
        self._say(["run", str(stream), "apart" if apart else "output", quote(folder), *arguments])

    def inherit(self, stream: int) -> None:
        """The program of this stream has come along from the machine that was cloned: from now on it can be written to."""
        self._streams[stream] = _Stream(first_line=None)

    def write(self, stream: int, data: bytes) -> None:
        """Input of a program; b"" is its end."""
        self._send(stream, data)

    async def room(self, stream: int) -> None:
        """Wait until all input of a program is on its way to it, or it has ended: then there is room for more."""
        state = self._streams.get(stream)
        if state is not None and state.pending:
            state.room.clear()
            await state.room.wait()
        await self._way_is_free()

    async def _way_is_free(self) -> None:
        """Wait until what has been said so far is mostly with the machine: one that does not read is told no more, whatever it
        says to have taken."""
        await self._flowing.wait()
        with contextlib.suppress(OSError):  # it has ended
            await self._drain()

    async def _drain(self) -> None:
        async with self._turn:
            await self._writer.drain()

    def _frame(self, stream: int, kind: int, payload: bytes) -> None:
        frame = struct.pack("<II", stream, len(payload) | kind << 24) + payload
        if self._held is None:
            self._writer.write(frame)
        else:
            self._held.append(frame)

    # --- to the processes ----------------------------------------------------------------------------------------

    def _send(self, number: int, data: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.pending.extend(data[at : at + MAX_PAYLOAD] for at in range(0, max(1, len(data)), MAX_PAYLOAD))
        self._pump(number, stream)

    def _pump(self, number: int, stream: _Stream) -> None:
        while stream.pending and stream.under_way < WINDOW:
            data = stream.pending.popleft()
            stream.under_way += len(data)
            self._frame(number, DATA if data else CLOSE, data)
            if not data and number >= OWN_STREAMS:
                self._drop(number)
                return
        if not stream.pending:
            stream.room.set()

    # --- from the machine --------------------------------------------------------------------------------------

    async def _read(self, reader: asyncio.StreamReader) -> None:
        why = "the machine has ended"
        try:
            while True:
                stream, word = struct.unpack("<II", await reader.readexactly(8))
                length, kind = word & 0xFFFFFF, word >> 24
                if length > MAX_PAYLOAD or kind > ERRORS or len(self._held or ()) > MAX_HELD:
                    why = "the machine's agent can't be understood"
                    return  # the machine is left to itself and hears nothing more
                await self._take(stream, kind, await reader.readexactly(length))
                await self._drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._end(why)

    async def _take(self, number: int, kind: int, payload: bytes) -> None:
        if kind == CONTROL:
            return self._control(payload.decode(errors="replace"))
        if kind == OPEN:
            self._drop(number)  # an agent gives no number twice
            if number >= OWN_STREAMS and len(self._streams) < MAX_CONNECTIONS:
                self._streams[number] = _Stream()
            else:
                self._frame(number, CLOSE, b"")
            return None
        stream = self._streams.get(number)
        if kind in (DATA, ERRORS) and number < OWN_STREAMS:
            await self._on_output(number, payload, kind == ERRORS)
        elif stream is None:
            return None
        elif kind == TAKEN and len(payload) == 4:
            stream.under_way = max(0, stream.under_way - int.from_bytes(payload, "little"))
            self._pump(number, stream)
        elif kind == CLOSE:
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
            future = self._asked.get(_number(number))
            if future is not None and not future.done():  # an unknown number: said before the machine was cloned
                future.set_result(trouble)
        elif verb == "exited":
            words = rest.split()
            if len(words) == 2 and _number(words[0]) >= 0 and 0 <= _number(words[1]) < 256:
                self._on_exit(int(words[0]), int(words[1]))

    async def _from_process(self, number: int, stream: _Stream, data: bytes) -> None:
        if stream.first_line is not None:
            stream.first_line += data
            if b"\n" not in stream.first_line:
                if len(stream.first_line) > MAX_FIRST_LINE:
                    self._send(number, b"")
                return
            first, _, data = stream.first_line.partition(b"\n")
            stream.first_line = None
            words = first.split(b" ")
            if len(words) < 2 or words[1] not in (b"attach", b"ask"):
                self._send(number, b"gridcentric/1 error protocol in a VM the roles are attach and ask\n")
                self._send(number, b"")
                return
            # The version is the guest's own word; who it is is this driver's.
            hello = words[0] + b" " + self._introduction
            if not await self._connect(number, stream, hello, 0):
                return
        self._note_clone_calls(number, stream, data)
        if stream.writer is not None and data:
            try:
                stream.writer.write(data)
                await stream.writer.drain()
            except OSError:  # the host has hung up: _from_host() tells the process
                return

    def _note_clone_calls(self, number: int, stream: _Stream, data: bytes) -> None:
        *lines, stream.line = (stream.line + data).split(b"\n")
        stream.line = stream.line[-MAX_FIRST_LINE:]
        for line in lines:
            words = line.split(b" ")
            if len(words) == 3 and words[1] == b"clone":
                self._clone_calls[words[2].decode(errors="replace")] = (number, words[0].decode(errors="replace"))
                if len(self._clone_calls) > MAX_CONNECTIONS:  # of tickets that are none
                    del self._clone_calls[next(iter(self._clone_calls))]

    # --- to the host ---------------------------------------------------------------------------------------------

    async def _connect(self, number: int, stream: _Stream, hello: bytes, swallow: int) -> bool:
        try:
            reader, stream.writer = await asyncio.open_unix_connection(self._host)
        except OSError:
            self._send(number, b"")
            return False
        stream.writer.write(hello)
        stream.task = asyncio.create_task(self._from_host(number, stream, reader, swallow))
        return True

    async def _from_host(self, number: int, stream: _Stream, reader: asyncio.StreamReader, swallow: int) -> None:
        try:
            for _ in range(swallow):
                await reader.readline()
            while data := await reader.read(MAX_PAYLOAD):
                stream.room.clear()
                self._send(number, data)
                await stream.room.wait()
                await self._way_is_free()
        except (OSError, ValueError):
            pass
        self._send(number, b"")  # the host has ended a connection: so does the process's

    async def adopt(self, number: int, call: str, vmid: int) -> None:
        """In a clone: the connection whose `clone` call made it goes on, answered with its vmid."""
        stream = self._streams[number] = _Stream(first_line=None)
        if await self._connect(number, stream, b"gridcentric/1 " + self._introduction, 1):
            self._send(number, f"{call} ok {vmid}\n".encode())

    def _drop(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        stream.room.set()
        if stream.writer is not None:
            stream.writer.close()
        if stream.task is not None and stream.task is not asyncio.current_task():
            stream.task.cancel()
