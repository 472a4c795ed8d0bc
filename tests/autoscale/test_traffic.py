"""What goes through the proxy, and how it treats hostile or unlucky clients: others must not notice. For both languages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from autoscale_harness import HANG_GUARD_S, Program, User, World, running

ONE_CLONE = {"minClones": 1, "usersPerClone": 1000}
COOKIES = {**ONE_CLONE, "users": "cookie"}


def run(language: str, folder: Path, test: Any, options: dict[str, Any] = ONE_CLONE) -> None:
    async def main() -> None:
        async with asyncio.timeout(HANG_GUARD_S), running(language, folder, options) as (world, program):
            await program.do("tick")
            user = User(world)
            try:
                await test(world, program, user)
            finally:
                await user.session.close()

    asyncio.run(main())


async def raw(world: World, data: bytes) -> bytes:
    """The response to these bytes, until the connection ends or the response's header is complete."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.listen_port, limit=1 << 24)
    try:
        writer.write(data)
        await writer.drain()
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        return getattr(error, "partial", b"")
    finally:
        writer.close()


def status(answer: bytes) -> int:
    """0: the connection was closed."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_headers(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        async with user.session.get(
            f"{user.url}/headers?a=b%20c", headers={"X-Own": "yes", "Connection": "X-Hop", "X-Hop": "1"}
        ) as response:
            sent = {name.lower(): value for name, value in await response.json()}
            cookies = response.headers.getall("Set-Cookie")
        assert sent["x-own"] == "yes"
        assert sent["connection"] == "keep-alive"  # whatever the client does with its connection
        assert sent["x-forwarded-for"] == "127.0.0.1"
        assert sent["x-forwarded-host"] == f"127.0.0.1:{world.listen_port}"
        assert cookies[0] == "own=1; Path=/"
        assert cookies[1].startswith("gridcentric=")
        assert "HttpOnly" in cookies[1]
        async with user.session.get(f"{user.url}/headers") as response:
            assert response.headers.getall("Set-Cookie") == ["own=1; Path=/"]

    run(language, tmp_path, test, COOKIES)


def test_bodies(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        small, large = b"x" * 1000, b"y" * 3_000_000

        async def chunks() -> Any:
            for _ in range(30):
                yield b"z" * 100_000

        for data in (small, large, chunks()):
            assert await user.get("/", "POST", data=data) == "clone 1"
        assert [len(body) for _, body in world.bodies] == [1000, 3_000_000, 3_000_000]
        assert world.bodies[0][1] == small

    run(language, tmp_path, test)


def test_an_answer_before_the_body_was_read_arrives(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        for _ in range(20):
            assert await user.get("/too-much", "POST", data=bytes(4_000_000)) == "413 clone 1 refuses"

    run(language, tmp_path, test)


def test_server_sent_events_are_passed_on_as_they_come(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        async with user.session.get(f"{user.url}/events") as response:
            assert await response.content.readuntil(b"\n\n") == b"data: first\n\n"
            world.release.set()
            assert await response.content.read() == b"data: second\n\n"

    run(language, tmp_path, test)


def test_websocket(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        async with user.session.ws_connect(f"{user.url}/socket", protocols=["chat"]) as socket:
            assert socket.protocol == "chat"
            await socket.send_str("hello")
            assert await socket.receive_str() == "clone 1: hello"
            assert (await program.do("state"))["users"] == 1
            await program.do("advance", ms=10**7)  # the connection is open, so its user is active
            assert (await program.do("tick"))["users"] == 1
            await socket.send_str("x" * 100_000)
            assert len(await socket.receive_str()) == 100_009
        assert {cookie.key for cookie in user.session.cookie_jar} == {"gridcentric"}
        while (await program.do("state"))["clones"][0]["users"] and (await program.do("tick"))["users"]:
            await program.do("advance", ms=10**6)

    run(language, tmp_path, test, COOKIES)


def test_a_websocket_is_held_for_the_first_clone(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        opening = asyncio.ensure_future(user.session.ws_connect(f"{user.url}/socket", protocols=["chat"]))
        while not (await program.do("state"))["held"]:
            pass
        await program.do("tick")
        async with await opening as socket:
            await socket.send_str("hi")
            assert await socket.receive_str() == "clone 1: hi"

    run(language, tmp_path, test, {})


BAD_COOKIES = [
    "gridcentric=", "gridcentric", "gridcentric=1", "gridcentric=" + "a" * 32, "gridcentric=" + "A" * 32,
    "gridcentric=__proto__", "gridcentric=%00%ff", "gridcentric=../../etc/passwd", "gridcentric=" + "0" * 4000,
    "=;=;;;", "a=b; gridcentric=\"x", "\xff\xfe",
]  # fmt: skip


def test_garbage_and_forged_cookies_make_a_new_user(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        assert await user.get() == "clone 1"
        for cookie in BAD_COOKIES:
            answer = await raw(world, b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + cookie.encode("latin-1") + b"\r\n\r\n")
            assert status(answer) in (200, 400), (cookie, answer)
            assert status(answer) == 400 or b"gridcentric=" in answer, (cookie, answer)
            assert await user.get() == "clone 1"

    run(language, tmp_path, test, COOKIES)


HOSTILE = {
    "a header of 100 KB": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "10,000 headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: 1\r\n" % i for i in range(10_000)) + b"\r\n",
    "a path of 1 MB": b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "a bad chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a line feed in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n",
    "an unknown upgrade": b"GET /nowhere HTTP/1.1\r\nHost: a\r\nUpgrade: wurst\r\nConnection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_are_refused_and_others_unaffected(name: str, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        assert await user.get() == "clone 1"
        answer = await raw(world, HOSTILE[name])
        # Refused with a 4xx, or disconnected; an unknown upgrade may also be answered as a plain request.
        assert status(answer) == 0 or 400 <= status(answer) < 500 or name == "an unknown upgrade", answer
        assert await user.get() == "clone 1"
        assert [body for _, body in world.bodies if body] == []

    run(language, tmp_path, test)


def test_an_absolute_path_goes_to_the_clone_and_nowhere_else(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        answer = await raw(world, b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status(answer) in (200, 400), answer

    run(language, tmp_path, test)


def test_a_slow_reader_costs_no_memory_and_holds_up_nobody(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        assert await user.get() == "clone 1"
        before = program.resident()
        slow = [await asyncio.open_connection("127.0.0.1", world.listen_port, limit=1024) for _ in range(4)]
        for _, writer in slow:
            writer.write(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        for reader, _ in slow:
            assert (await reader.read(15)).startswith(b"HTTP/1.1 200")
        for _ in range(50):
            assert await user.get() == "clone 1"
        assert program.resident() - before < 100_000  # KB; they ask for 256 MB
        for _, writer in slow:
            writer.transport.abort()
        assert await user.get() == "clone 1"

    run(language, tmp_path, test)


def test_clients_that_vanish_leave_nothing(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        def sockets() -> int:
            return sum(
                "socket:" in str(fd.readlink()) for fd in Path(f"/proc/{program.process.pid}/fd").iterdir() if fd.is_symlink()
            )

        assert await user.get() == "clone 1"
        before = sockets()
        halves = [
            b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf",
            b"GET / HT",
        ]
        for half in halves * 20:
            _, writer = await asyncio.open_connection("127.0.0.1", world.listen_port)
            writer.write(half)
            await writer.drain()
            writer.transport.abort()
        assert await user.get() == "clone 1"
        while sockets() > before:
            await asyncio.sleep(0.01)
        # One of them may be noticed only now and count as seen at this time; it is forgotten as well.
        await program.do("advance", ms=10**6)
        while (await program.do("tick"))["users"] > 0:
            await program.do("advance", ms=10**6)
        assert not any(body for _, body in world.bodies)

    run(language, tmp_path, test)


def test_a_client_that_vanishes_during_a_cloning(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        await world.control.ask("latency clone 1000")
        staying, going = User(world), User(world)
        waits = [asyncio.ensure_future(one.get()) for one in (staying, going)]
        while (await program.do("state"))["held"] < 2:
            pass
        tick = asyncio.ensure_future(program.do("tick"))
        await world.control.ask("await clone 1")
        waits[1].cancel()
        await world.control.ask("advance 1000")
        await tick
        assert await waits[0] == "clone 1"
        assert [clone["users"] for clone in (await program.do("state"))["clones"]] in ([1], [2])
        await staying.session.close()
        await going.session.close()

    run(language, tmp_path, test, {})


def test_two_hundred_users_at_once(language: str, tmp_path: Path) -> None:
    """No user gets an error; every message arrives once, in one place."""

    async def test(world: World, program: Program, user: User) -> None:
        async def visit(n: int) -> str:
            visitor = User(world)
            where = await visitor.get()
            for k in range(5):
                assert await visitor.get("/", "POST", data=f"{n}.{k}") == where
            await visitor.session.close()
            return where

        async def ticking() -> None:
            while True:
                await program.do("tick")
                await asyncio.sleep(0.05)

        ticks = asyncio.ensure_future(ticking())
        places = await asyncio.gather(*(visit(n) for n in range(200)))
        ticks.cancel()
        await asyncio.gather(ticks, return_exceptions=True)
        assert all(place.startswith("clone ") for place in places), places
        assert len(set(places)) == 32
        said = sorted(body.decode() for _, body in world.bodies if body)
        assert said == sorted(f"{n}.{k}" for n in range(200) for k in range(5))

    run(language, tmp_path, test, {"userTimeout": 600_000})
