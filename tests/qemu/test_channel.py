"""The agent's channel, this side, with a peer that may say and do anything: guests are not trusted."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gridcentric.hypervisors.qemu.channel import DATA, OPEN, OWN_STREAMS, TAKEN, Channel, ChannelError

FLOOD = 32 << 20  # bytes
TURNS = 100  # of the loop; both sides are in one


class Agent:
    """The other end: whatever a machine's owner makes of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    def say(self, stream: int, kind: int, payload: bytes = b"") -> None:
        self.writer.write(struct.pack("<II", stream, len(payload) | kind << 24) + payload)

    async def hear(self) -> tuple[int, int, bytes]:
        stream, word = struct.unpack("<II", await self.reader.readexactly(8))
        return stream, word >> 24, await self.reader.readexactly(word & 0xFFFFFF)


async def flood(agent: Agent, piece: bytes, most: int = FLOOD) -> None:
    """Say it again and again until that many bytes are said, or the other side does not read any more."""
    sock = agent.writer.get_extra_info("socket")
    said = idle = 0
    while said < most and idle < TURNS:
        try:
            sent = os.write(sock.fileno(), piece[said % len(piece) :])
        except BlockingIOError:
            sent = 0
        said += sent
        idle = 0 if sent else idle + 1
        await asyncio.sleep(0)  # all that is ready has its turn


class Host:
    """A host that takes any connection and says nothing."""

    def __init__(self) -> None:
        self.connections: set[asyncio.StreamWriter] = set()
        self.most = 0
        self.said = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        self.most = max(self.most, len(self.connections))
        while await reader.read(4096):
            self.said.set()
        self.connections.discard(writer)
        writer.close()


def with_channel(test: Callable[[Channel, Agent, Host], Awaitable[None]]) -> None:
    async def main() -> None:
        async def output(stream: int, data: bytes, errors: bool) -> None: ...

        ours, theirs = socket.socketpair()
        with tempfile.TemporaryDirectory(prefix="gcq-") as folder:
            host = Host()
            server = await asyncio.start_unix_server(host.serve, Path(folder) / "host.sock")
            channel = Channel(ours, f"{folder}/host.sock", "as nobody", output, lambda stream, code: None)
            await channel.start()
            agent = Agent(theirs)
            agent.reader, agent.writer = await asyncio.open_connection(sock=theirs)
            try:
                await test(channel, agent, host)
            finally:
                channel.close()
                agent.writer.close()
                server.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["end", "garbage"])
def test_who_asks_an_agent_that_says_nothing_more_is_told(how: str) -> None:
    async def test(channel: Channel, agent: Agent, host: Host) -> None:
        asked = asyncio.create_task(channel.ask("become"))
        quiet = asyncio.create_task(channel.quiesce())
        await agent.hear()
        if how == "end":
            agent.writer.close()
        else:
            agent.writer.write(bytes([0xFF] * 8))
        for question in (asked, quiet):
            with pytest.raises(ChannelError, match="has ended" if how == "end" else "can't be understood"):
                await question
        with pytest.raises(ChannelError):
            await channel.ask("go")
        with pytest.raises(ChannelError):
            await channel.up

    with_channel(test)


def test_a_number_that_is_opened_again_is_another_connection() -> None:
    """The one before is closed: a machine has as many connections to its host as it may have, and no more."""

    async def test(channel: Channel, agent: Agent, host: Host) -> None:
        for _ in range(50):
            host.said.clear()
            agent.say(OWN_STREAMS, OPEN)
            agent.say(OWN_STREAMS, DATA, b"gridcentric/1 attach\n")
            await host.said.wait()
        assert host.most <= 2  # the end of the one before may be seen a moment later

    with_channel(test)


def test_an_agent_that_does_not_read_is_not_read_from() -> None:
    """Else the answers to what it says pile up in the host's memory."""

    async def test(channel: Channel, agent: Agent, host: Host) -> None:
        agent.writer.transport.pause_reading()
        await flood(agent, struct.pack("<II", 1, OPEN << 24) * 8192)  # each is answered
        assert channel._writer.transport.get_write_buffer_size() < 1 << 20

    with_channel(test)


def test_an_agent_that_says_it_has_taken_what_it_has_not() -> None:
    """What the host says to a connection waits there until the machine really reads."""

    async def test(channel: Channel, agent: Agent, host: Host) -> None:
        agent.say(OWN_STREAMS, OPEN)
        agent.say(OWN_STREAMS, DATA, b"gridcentric/1 attach\n")
        await host.said.wait()
        agent.writer.transport.pause_reading()
        (connection,) = host.connections
        for _ in range(64):
            connection.write(bytes(1 << 20))
        taken = struct.pack("<III", OWN_STREAMS, 4 | TAKEN << 24, 1 << 20)
        for _ in range(64):
            await flood(agent, taken, most=len(taken))
            for _ in range(TURNS):
                await asyncio.sleep(0)
        assert channel._writer.transport.get_write_buffer_size() < 1 << 20

    with_channel(test)


def test_what_waits_for_the_end_of_a_cloning_is_limited() -> None:
    async def test(channel: Channel, agent: Agent, host: Host) -> None:
        quiet = asyncio.create_task(channel.quiesce())
        await agent.hear()
        await flood(agent, struct.pack("<II", 1, OPEN << 24) * 8192)
        assert quiet.done()
        with pytest.raises(ChannelError, match="can't be understood"):
            await quiet

    with_channel(test)
