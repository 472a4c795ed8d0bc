"""What a bad request may cost: the clone that it is sent to, never a second one, nor the proxy. For both languages."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from autoscale_harness import Program, User, World
from test_traffic import ONE_CLONE, raw, run, status

THREE = {"minClones": 3, "usersPerClone": 1000, "strategy": "least-loaded"}


@pytest.mark.parametrize("kept", [False, True], ids=["first request", "kept connection"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_a_request_that_ended_its_clone_is_not_sent_to_another(method: str, kept: bool, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        place = "clone 1"
        if kept:
            place = await user.get()
        async with user.session.request(method, f"{user.url}/die", data=b"x" if method == "POST" else None) as answer:
            assert answer.status == 502
            assert method == "HEAD" or (await answer.text()).startswith(f"{place} ")
        died = [vmid for vmid, body in world.bodies if body == b"die"]
        assert len(died) == 1
        assert len(await world.domains()) == 3  # the master and two clones
        assert await user.get() in {f"clone {vmid}" for vmid in (1, 2, 3) if vmid not in died}

    run(language, tmp_path, test, THREE)


def test_a_clone_that_had_ended_before_the_request_has_not_got_it(language: str, tmp_path: Path) -> None:
    """The end of its connection and the next request arrive together, as on a busy computer: the end came first."""

    async def test(world: World, program: Program, user: User) -> None:
        place = await user.get()
        program.process.send_signal(signal.SIGSTOP)
        await world.end(int(place.split()[1]))
        async with asyncio.TaskGroup() as tasks:
            answer = tasks.create_task(user.get())
            while unread(program.process.pid, world.listen_port) == 0:
                await asyncio.sleep(0.002)
            program.process.send_signal(signal.SIGCONT)
        assert answer.result().startswith("clone ") and answer.result() != place

    run(language, tmp_path, test, THREE)


ASKED = {
    "GET": b"GET / HTTP/1.1\r\nHost: a\r\nX-User: u\r\n\r\n",
    "POST": b"POST / HTTP/1.1\r\nHost: a\r\nX-User: u\r\nContent-Length: 4\r\n\r\nbody",
    "large POST": b"POST / HTTP/1.1\r\nHost: a\r\nX-User: u\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000),
    "WebSocket": b"GET /socket HTTP/1.1\r\nHost: a\r\nX-User: u\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("kind", ASKED)
def test_a_clone_that_ends_as_it_is_connected_to(kind: str, times: int, language: str, tmp_path: Path) -> None:
    """Its connection ends before the host has noticed. Nothing was sent, so the request goes out again, but not for ever."""

    async def test(world: World, program: Program, user: User) -> None:
        world.hang_up(times)
        answer = await raw(world, ASKED[kind])
        # What is forwarded while it arrives cannot be sent twice.
        right = 502 if times == 3 or kind == "large POST" else 101 if kind == "WebSocket" else 200
        assert status(answer) == right, answer
        world.hang_up(0)
        assert await user.get() == "clone 1"

    run(language, tmp_path, test)


def unread(pid: int, port: int) -> int:
    """The bytes that wait in the connections to this port of 127.0.0.1 for `pid` to read."""
    rows = [row.split() for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].split(":")[1], 16) for row in rows if row[1] == f"0100007F:{port:04X}" and row[3] == "01")


def test_a_websocket_that_ended_its_clone_is_not_sent_to_another(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        asked = b"GET /die HTTP/1.1\r\nHost: a\r\nX-User: u\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        asked += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        assert status(await raw(world, asked)) == 502
        assert [body for _, body in world.bodies] == [b"die"]
        assert len(await world.domains()) == 3

    run(language, tmp_path, test, THREE)


def test_a_websocket_that_breaks_off_is_not_asked_for_again(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        assert status(await raw(world, ASKED["WebSocket"].replace(b"/socket", b"/break"))) == 502
        assert world.bodies == [(1, b"")]
        assert await user.get() == "clone 1"

    run(language, tmp_path, test)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_that_does_not_come_is_a_504_that_says_so(method: str, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        other = User(world)
        assert await other.get() == "clone 1"
        slow = asyncio.ensure_future(user.get("/slow", method))
        while not slow.done():
            assert await other.get() == "clone 1"  # no other user is affected
        assert await slow == "504 clone 1: it did not answer within 200 ms"
        await other.session.close()
        world.release.set()
        assert await user.get() == "clone 1"

    run(language, tmp_path, test, {**ONE_CLONE, "requestTimeout": 200})


def test_a_stream_that_has_begun_may_pause(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        async with user.session.get(f"{user.url}/events") as response:
            assert await response.content.readuntil(b"\n\n") == b"data: first\n\n"
            await asyncio.sleep(0.7)  # longer than requestTimeout, which limits the time to a response's header
            world.release.set()
            assert await response.content.read() == b"data: second\n\n"

    run(language, tmp_path, test, {**ONE_CLONE, "requestTimeout": 200})


def test_a_busy_clone_that_still_sends_is_not_ended(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        world.deaf = {1}
        for _ in range(8):  # twice as often as health checks may fail
            async with user.session.get(f"{user.url}/events") as response:
                assert await response.content.readuntil(b"\n\n") == b"data: first\n\n"
                await program.do("tick")
        assert [event for event in program.events if event["kind"] == "killed"] == []
        while not [event for event in program.events if event["kind"] == "killed"]:  # the clone is silent
            await program.do("tick")

    run(language, tmp_path, test)


def test_what_a_busy_clone_sent_counts_when_its_connection_has_closed(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        world.deaf = {1}
        for _ in range(8):
            assert await user.get("/", "POST") == "clone 1"  # on a new connection
            await program.do("state")
            await program.do("tick")
        assert [event for event in program.events if event["kind"] == "killed"] == []

    run(language, tmp_path, test)


def test_connections_that_say_nothing(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        assert await user.get() == "clone 1"
        before = program.resident()
        silent = [await asyncio.open_connection("127.0.0.1", world.listen_port) for _ in range(400)]
        for _, writer in silent[::2]:
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ")
        for _, writer in silent[1::4]:  # these fall silent after a request, or in the middle of a second one
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-User: u\r\n\r\n")
        for _, writer in silent[1::8]:
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ")
        # Connections above the limit are closed at once, the others after a while.
        ends = [asyncio.ensure_future(reader.read()) for reader, _ in silent]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert done
        assert program.resident() - before < 60_000  # KB
        await asyncio.wait(ends, timeout=60)
        assert all(end.done() for end in ends)
        for end in ends:
            end.exception()
        for _, writer in silent:
            writer.close()
        assert await user.get() == "clone 1"

    run(language, tmp_path, test, {**ONE_CLONE, "maxConnections": 300})
