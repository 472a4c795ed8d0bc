"""Connections between computers: who knows the secret is let in, and a stranger learns and does nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from gridcentric.hypervisors.ray import link
from gridcentric.hypervisors.ray.control import Control, ControlError
from gridcentric.hypervisors.ray.link import GREETING, LinkError, Listener, dial

SECRET = b"s" * 32


class Served:
    """What a listener has taken; it answers with the purpose."""

    def __init__(self) -> None:
        self.purposes: list[str] = []
        self.where: tuple[str, int] = ("", 0)

    async def serve(self, purpose: str, connection: socket.socket) -> None:
        self.purposes.append(purpose)
        await asyncio.get_running_loop().sock_sendall(connection, purpose.encode())


@contextlib.asynccontextmanager
async def listening(secret: bytes = SECRET) -> AsyncIterator[Served]:
    served = Served()
    listener = Listener(secret, served.serve)
    served.where = listener.start("127.0.0.1")
    try:
        yield served
    finally:
        await listener.close()


async def received(sock: socket.socket) -> bytes:
    data = b""
    while more := await asyncio.get_running_loop().sock_recv(sock, 4096):
        data += more
    return data


def test_who_knows_the_secret_is_served() -> None:
    async def main() -> None:
        async with listening() as served:
            with await dial(served.where, SECRET, "connect 10.77.0.2 80") as sock:
                assert await received(sock) == b"connect 10.77.0.2 80"

    asyncio.run(main())


def test_who_does_not_is_not() -> None:
    async def main() -> None:
        async with listening() as served:
            with pytest.raises(LinkError, match="another secret"):
                await dial(served.where, b"x" * 32, "trunk a")
            assert served.purposes == []

    asyncio.run(main())


def test_what_was_said_once_can_not_be_said_again() -> None:
    """A stranger repeats each byte that somebody who knows the secret has sent."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with listening() as served:
            heard = b""

            async def spy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal heard
                there_reader, there_writer = await asyncio.open_connection(*served.where)
                writer.write(await there_reader.readexactly(len(GREETING) + 32))
                heard = await reader.readexactly(32 + 2 + len("trunk a") + 32)
                there_writer.write(heard)
                writer.write(await there_reader.read())
                writer.close()
                there_writer.close()

            between = await asyncio.start_server(spy, "127.0.0.1")
            with await dial(between.sockets[0].getsockname(), SECRET, "trunk a"):
                pass
            between.close()
            assert served.purposes == ["trunk a"]
            with socket.create_connection(served.where) as stranger:
                stranger.setblocking(False)
                await loop.sock_sendall(stranger, heard)
                assert len(await received(stranger)) == len(GREETING) + 32, "it hears what everybody hears"
            assert served.purposes == ["trunk a"]

    asyncio.run(main())


def test_an_impostor_is_noticed() -> None:
    async def main() -> None:
        async with listening(b"another" * 4) as served:
            with pytest.raises(LinkError):
                await dial(served.where, SECRET, "control")

    asyncio.run(main())


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(32) + b"\xff\xff", bytes(200)])
def test_strangers_are_given_up(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "LIMIT_S", 0.2)

    async def main() -> None:
        async with listening() as served:
            reader, writer = await asyncio.open_connection(*served.where)
            writer.write(said)
            with contextlib.suppress(ConnectionError):  # what it has not read is lost
                await asyncio.wait_for(reader.read(), 30)
            writer.close()
            monkeypatch.setattr(link, "LIMIT_S", 5)
            with await dial(served.where, SECRET, "trunk a"):
                pass
            assert served.purposes == ["trunk a"]

    asyncio.run(main())


def test_messages_come_in_order_and_questions_are_answered() -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        heard: list[object] = []

        async def half(number: int) -> int:
            if number % 2:
                raise ValueError(f"{number} is odd")
            return number // 2

        left = Control(one, {})
        right = Control(other, {"note": lambda *words: heard.append(words), "half": half})
        runs = [asyncio.create_task(side.run()) for side in (left, right)]
        await asyncio.sleep(0)
        while not hasattr(left, "_writer"):
            await asyncio.sleep(0.01)
        for number in range(5):
            left.tell("note", number, data=bytes([number]))
        assert await left.ask("half", 8) == 4
        with pytest.raises(ControlError, match="7 is odd"):
            await left.ask("half", 7)
        assert heard == [(number, bytes([number]) if number >= 0 else b"") for number in range(5)]
        right.close()
        assert await runs[0] == "its connection has ended"
        with pytest.raises(ControlError, match="gone"):
            await left.ask("half", 2)
        await asyncio.gather(*runs)

    asyncio.run(main())
