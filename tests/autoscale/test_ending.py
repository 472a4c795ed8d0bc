"""What close() does with each connection of a client. For both languages; cases/ending.yaml has the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path

from autoscale_harness import Program, User, World
from test_resets import GET, POST
from test_traffic import ONE_CLONE, run

HOUR = 3_600_000


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, world: World, data: bytes = b"") -> Connection:
        one = cls(*await asyncio.open_connection("127.0.0.1", world.listen_port))
        one.writer.write(data.replace(b"X-User: u", b"X-User: %d" % id(one)))
        return one

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """What comes until the connection ends. It may be reset when something that was sent has not been read."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""
        finally:
            self.writer.close()


def test_each_connection_ends_in_its_way(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        kept = await Connection.open(world, GET % b"/")
        assert b"clone 1" in await kept.head() + await kept.reader.readuntil(b"clone 1 0")
        unused = [kept, await Connection.open(world), await Connection.open(world, b"GET / HT")]
        page = await user.session.get(f"{user.url}/_gridcentric/events")
        begun = await Connection.open(world, GET % b"/events")
        assert b"connection: close" not in (await begun.head()).lower()
        waiting = [await Connection.open(world, GET % path) for path in (b"/slow", b"/events?later")]
        sending = await Connection.open(world, POST % (b"/", 100_000) + bytes(50_000))
        socket = await user.session.ws_connect(f"{user.url}/socket")
        while (await program.do("state"))["clones"][0]["users"] < 6:  # those five and the one before
            pass
        await program.do("start_close")
        for connection in unused:
            assert await connection.rest() == b""
        await page.read()
        await program.said("5 requests under way may take up to 3600 s more")
        await socket.send_str("hello")
        assert await socket.receive_str() == "clone 1: hello"
        await socket.close()
        sending.writer.write(bytes(50_000))
        world.release.set()
        for connection, text in (*zip(waiting, (b"clone 1 0", b"second")), (sending, b"clone 1 100000")):
            answer = await connection.rest()
            assert answer.startswith(b"HTTP/1.1 200"), answer
            assert b"connection: close" in answer.split(b"\r\n\r\n")[0].lower(), answer
            assert text in answer
        assert b"data: second" in await begun.rest()
        while not (await program.do("state"))["closed"]:
            pass
        assert world.joined == [1]
        assert "cut off" not in " ".join(program.log)

    run(language, tmp_path, test, {**ONE_CLONE, "endLimit": HOUR})
