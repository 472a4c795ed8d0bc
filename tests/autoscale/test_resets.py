"""Either side may break off anywhere in HTTP, WebSocket or server-sent events: the master keeps running. For both languages."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Coroutine
from pathlib import Path

import pytest
from autoscale_harness import Program, User, World
from clone_answers import CUT
from test_traffic import ONE_CLONE, run

GET = b"GET %s HTTP/1.1\r\nHost: a\r\nX-User: u\r\n\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: a\r\nX-User: u\r\nContent-Length: %d\r\n\r\n"
SWITCH = (
    b"GET %s HTTP/1.1\r\nHost: a\r\nX-User: u\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# What a client sends, and how much of the response it reads before it disconnects.
CLIENTS = {
    "nothing": (b"", 0),
    "half a line": (b"GET / HT", 0),
    "half a head": (b"GET / HTTP/1.1\r\nHost: a\r\nX-Us", 0),
    "head": (GET % b"/slow", 0),
    "half a body": (POST % (b"/", 1000) + b"half", 0),
    "half a large body": (POST % (b"/", 10_000_000) + bytes(1_000_000), 0),
    "body": (POST % (b"/slow", 4) + b"body", 0),
    "half an answer": (GET % b"/big", 100_000),
    "answer": (GET % b"/", 12),
    "two requests": (GET % b"/" + GET % b"/slow", 12),
    "two requests, the second with a large answer": (GET % b"/slow" + GET % b"/big", 0),
    "events": (GET % b"/events", 12),
    "upgrade": (SWITCH % b"/socket", 0),
    "upgrade, never answered": (SWITCH % b"/slow", 0),
    "upgrade, refused": (SWITCH % b"/headers", 12),
    "websocket": (SWITCH % b"/socket", 12),
    "half a message": (SWITCH % b"/socket" + b"\x81\xfe", 12),
    "messages": (SWITCH % b"/socket" + b"\x81\x85\0\0\0\0hello" * 100, 12),
    "a message too large": (SWITCH % b"/socket" + b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0" + bytes(100_000), 12),
    "a tunnel": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    "another upgrade": (GET.replace(b"X-User", b"Connection: Upgrade\r\nUpgrade: h2c\r\nX-User") % b"/slow", 0),
}
ENDS = ["reset", "close", "half-close"]


async def client(world: World, data: bytes, read: int, how: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.listen_port)
    try:
        writer.write(data)
        if read:
            await reader.read(read)
        elif data:
            await writer.drain()
        if how == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif how == "half-close":
            writer.write_eof()
            await asyncio.sleep(0)
    except OSError:
        pass  # it was disconnected first
    finally:
        writer.close()


def sockets(program: Program) -> int:
    found = 0
    for fd in Path(f"/proc/{program.process.pid}/fd").iterdir():
        try:
            found += "socket:" in str(fd.readlink())
        except OSError:
            continue
    return found


async def unharmed(world: World, program: Program, user: User, before: int) -> None:
    """It answers, has reported no internal error, and holds no more connections than before."""
    assert await user.get() == "clone 1"
    await program.do("state")
    assert [line for line in program.log if "a request failed" in line or "rror" in line] == []
    while sockets(program) > before:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("phase", CLIENTS)
def test_a_client_breaks_off(phase: str, how: str, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        assert await user.get() == "clone 1"
        before = sockets(program)
        for _ in range(5):
            await client(world, *CLIENTS[phase], how)
        world.release.set()
        await unharmed(world, program, user, before)

    run(language, tmp_path, test)


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("kind", ["GET", "POST", "large POST", "WebSocket"])
def test_a_clone_breaks_off(kind: str, how: str, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        assert await user.get() == "clone 1"
        for after in CUT:
            path = f"/cut/{after}/{how}".encode()
            asked = {
                "GET": GET % path,
                "POST": POST % (path, 4) + b"body",
                "large POST": POST % (path, 1_000_000) + bytes(1_000_000),
                "WebSocket": SWITCH % path,
            }[kind]
            reader, writer = await asyncio.open_connection("127.0.0.1", world.listen_port)
            answer = b""
            with contextlib.suppress(ConnectionError):
                writer.write(asked)
                answer = await asyncio.wait_for(reader.read(1000), 60)
            writer.close()
            # A complete response, an error that says which side broke off, or the same break.
            assert answer == b"" or answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101", b"HTTP/1.1 502")), (after, answer)
            assert await user.get() == "clone 1"
        await program.do("state")
        assert [line for line in program.log if "a request failed" in line] == []

    run(language, tmp_path, test)


FUZZED_CONNECTIONS = 600


def test_fuzzed_clients(language: str, tmp_path: Path) -> None:
    """Truncated, duplicated and corrupted requests, whose clients may disconnect at any moment: bounded and reproducible."""
    chance = random.Random(7)

    def bent() -> bytes:
        data = bytearray(chance.choice(list(CLIENTS.values()))[0][:3000])
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(data) + 1)
            kind = chance.randrange(3)
            if kind == 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            elif kind == 1:
                data[at:at] = data[: chance.randrange(200)]
            else:
                del data[at : at + chance.randrange(50)]
        return bytes(data)

    async def test(world: World, program: Program, user: User) -> None:
        world.release.set()
        assert await user.get() == "clone 1"
        before = sockets(program)
        for _ in range(FUZZED_CONNECTIONS // 20):
            cuts = [client(world, bent(), chance.choice([0, 0, 1, 50]), chance.choice(ENDS)) for _ in range(20)]
            await asyncio.wait_for(asyncio.gather(*(guarded(cut) for cut in cuts)), 60)
            assert await user.get() == "clone 1"
        await unharmed(world, program, user, before)

    async def guarded(cut: Coroutine[None, None, None]) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(cut, 1)

    run(language, tmp_path, test, {**ONE_CLONE, "requestTimeout": 2000})
