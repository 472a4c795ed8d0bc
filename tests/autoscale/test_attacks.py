"""Requests that two servers could read differently, and answers that nobody may pass on. For both languages, alike."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from autoscale_harness import Program, User, World
from clone_answers import SAID
from test_hops import whole
from test_traffic import raw, run, status

OWN = b"Host: a\r\nX-User: u\r\n"
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
SWITCH = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + KEY


def get(lines: bytes = b"", body: bytes = b"", line: bytes = b"GET / HTTP/1.1") -> bytes:
    return line + b"\r\n" + OWN + lines + b"\r\n" + body


def post(lines: bytes, body: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return get(lines, body, line)


CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"
# Refused with a 4xx by the proxy itself: no clone sees anything of them.
REFUSED = {
    "length and chunks": post(b"Content-Length: 6\r\n" + CHUNKED, END + b"X"),
    "chunks and length": post(CHUNKED + b"Content-Length: 6\r\n", END + b"X"),
    "two codings": post(CHUNKED + b"Transfer-Encoding: identity\r\n", END),
    "an unknown coding": post(b"Transfer-Encoding: xchunked\r\n", END),
    "a coding before chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", END),
    "a coding after chunked": post(b"Transfer-Encoding: chunked, identity\r\n", END),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked\r\n", END),
    "a space before the colon": post(b"Transfer-Encoding : chunked\r\n", END),
    "a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", END),
    "chunks in HTTP/1.0": post(CHUNKED, END, b"POST / HTTP/1.0"),
    "a length with a sign": post(b"Content-Length: +4\r\n", b"body"),
    "a list of lengths": post(b"Content-Length: 4, 4\r\n", b"body"),
    "a hexadecimal length": post(b"Content-Length: 0x4\r\n", b"body"),
    "a length without end": post(b"Content-Length: 99999999999999999999999\r\n", b"body"),
    "no length at all": post(b"Content-Length: \r\n", b""),
    "a length with an underscore": post(b"Content-Length: 1_0\r\n", b"0123456789"),
    "chunks that end in line feeds": post(CHUNKED, b"4\nbody\n0\n\n"),
    "a chunk longer than it says": post(CHUNKED, b"4\r\nbodyXX0\r\n\r\n"),
    "a chunk without end": post(CHUNKED, b"fffffffffffffffff\r\nbody\r\n" + END),
    "a negative chunk": post(CHUNKED, b"-4\r\nbody\r\n" + END),
    "a chunk of 0x4": post(CHUNKED, b"0x4\r\nbody\r\n" + END),
    "a line feed in an extension": post(CHUNKED, b"4;a\nb\r\nbody\r\n" + END),
    "a length among the trailers": post(CHUNKED, b"4\r\nbody\r\n0\r\nContent-Length: 9\r\n\r\n"),
    "a folded header": get(b"X-A: a\r\n b\r\n"),
    "a NUL in a header": get(b"X-A: a\0b\r\n"),
    "a NUL in a name": get(b"X\0A: a\r\n"),
    "a NUL in the path": get(line=b"GET /\0 HTTP/1.1"),
    "a control character": get(b"X-A: a\x01b\r\n"),
    "a carriage return": get(b"X-A: a\rb\r\n"),
    "a line without a colon": get(b"Nonsense\r\n"),
    "a header without a name": get(b": a\r\n"),
    "a space before the first header": b"GET / HTTP/1.1\r\n X: a\r\n" + OWN + b"\r\n",
    "line feeds": b"GET / HTTP/1.1\nHost: a\nX-User: u\n\n",
    "a space in the path": get(line=b"GET /a b HTTP/1.1"),
    "an absolute path": get(line=b"GET http://b/ HTTP/1.1"),
    "an authority": get(line=b"GET a:80 HTTP/1.1"),
    "an asterisk": get(line=b"OPTIONS * HTTP/1.1"),
    "a tunnel": get(line=b"CONNECT a:80 HTTP/1.1"),
    "no Host": b"GET / HTTP/1.1\r\nX-User: u\r\n\r\n",
    "a path for a Host": b"GET / HTTP/1.1\r\nHost: a/../b\r\nX-User: u\r\n\r\n",
    "a user in the Host": b"GET / HTTP/1.1\r\nHost: a@b\r\nX-User: u\r\n\r\n",
    "an unknown method": get(line=b"WURST / HTTP/1.1"),
    "a method in lower case": get(line=b"get / HTTP/1.1"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version of 2.0": get(line=b"GET / HTTP/2.0"),
    "a version of 1.2": get(line=b"GET / HTTP/1.2"),
    "an unknown expectation": post(b"Expect: wurst\r\nContent-Length: 4\r\n", b"body"),
    "a WebSocket with a body": get(SWITCH + b"Content-Length: 4\r\n", b"body", b"GET /socket HTTP/1.1"),
    "a WebSocket with chunks": get(SWITCH + CHUNKED, END, b"GET /socket HTTP/1.1"),
}  # fmt: skip


def test_requests_that_can_be_read_in_two_ways_are_refused(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        wrong = {}
        for name, data in REFUSED.items():
            answer = await raw(world, data)
            if not 400 <= status(answer) < 500:
                wrong[name] = answer
        assert wrong == {}
        assert world.bodies == []
        assert await user.get() == "clone 1"

    run(language, tmp_path, test)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\nX-User: u\r\n\r\n"
# Taken, and what the clone gets of each: method and body.
TAKEN = {
    "an extension of a chunk": (post(CHUNKED, b"4;a=b\r\nbody\r\n" + END), b"body"),
    "a tab before chunked": (post(b"Transfer-Encoding:\tchunked\r\n", b"4\r\nbody\r\n" + END), b"body"),
    "trailers": (post(CHUNKED + b"Trailer: X-T\r\n", b"4\r\nbody\r\n0\r\nX-T: 1\r\n\r\n"), b"body"),
    "a GET with a body": (get(b"Content-Length: 4\r\n", b"body"), b"body"),
    "a GET in chunks": (get(CHUNKED, b"4\r\nbody\r\n" + END), b"body"),
    "a HEAD with a body": (get(b"Content-Length: 4\r\n", b"body", b"HEAD / HTTP/1.1"), b"body"),
    "a DELETE with a body": (get(b"Content-Length: 4\r\n", b"body", b"DELETE / HTTP/1.1"), b"body"),
    "a length that Connection names": (
        get(b"Connection: Content-Length\r\nContent-Length: %d\r\n" % len(SMUGGLED), SMUGGLED), SMUGGLED,
    ),
    "a large one": (
        post(b"Connection: Content-Length\r\nContent-Length: 70000\r\n", SMUGGLED + bytes(70_000 - len(SMUGGLED))),
        SMUGGLED + bytes(70_000 - len(SMUGGLED)),
    ),
    "a Host that Connection names": (get(b"Connection: Host\r\n"), b""),
    "HTTP/1.0 without a Host": (b"GET / HTTP/1.0\r\nX-User: u\r\n\r\n", b""),
    "empty lines before it": (b"\r\n\r\n" + get(), b""),
    "a Host with a port": (b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\nX-User: u\r\n\r\n", b""),
    "a POST that asks for a WebSocket": (post(SWITCH + b"Content-Length: 4\r\n", b"body"), b"body"),
}  # fmt: skip


def test_unusual_requests_reach_the_clone_once_and_whole(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        wrong = {}
        for name, (data, body) in TAKEN.items():
            world.bodies.clear()
            answer = await raw(world, data)
            assert await user.get() == "clone 1"  # over the same connection to the clone, if it was kept
            if status(answer) != 200 or world.bodies != [(1, body), (1, b"")]:
                wrong[name] = (answer, world.bodies[:])
        assert wrong == {}

    run(language, tmp_path, test)


def test_pipelined_requests_are_answered_in_order(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        bodies = [b"x" * n for n in (1, 20, 300)]
        asked = b"".join(post(b"Content-Length: %d\r\n" % len(body), body) for body in bodies)
        answer = await whole(world, asked + get(b"Connection: close\r\n"))
        assert [answer.count(b"clone 1 %d" % n) for n in (1, 20, 300)] == [1, 1, 1]
        assert (
            answer.index(b"clone 1 1") < answer.index(b"clone 1 20") < answer.index(b"clone 1 300") < answer.index(b"clone 1 0")
        )

    run(language, tmp_path, test)


@pytest.mark.parametrize("size", [4, 1_000_000])
def test_a_client_that_waits_for_100_continue_gets_it(size: int, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.listen_port)
        writer.write(post(b"Expect: 100-continue\r\nContent-Length: %d\r\n" % size, b""))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(bytes(size))
        assert status(await reader.readuntil(b"\r\n\r\n")) == 200
        writer.close()
        assert [len(body) for _, body in world.bodies] == [size]

    run(language, tmp_path, test)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "WebSocket"])
def test_what_a_clone_says_ends_neither_the_master_nor_mixes_up_answers(method: str, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        wrong = {}
        for name, (_, right) in SAID.items():
            line = (
                {"WebSocket": b"GET"}.get(method, method.encode()) + b" /say/" + name.replace(" ", "-").encode() + b" HTTP/1.1"
            )
            more = {"WebSocket": SWITCH, "POST": b"Content-Length: 4\r\n"}.get(method, b"Connection: close\r\n")
            answer = await raw(world, get(more, b"body" if method == "POST" else b"", line))
            if method == "HEAD":  # whose answer has no body: what comes is too much, and may be noticed at once
                right = right | {0, 502}
            if status(answer) not in right or b"evil" in answer:
                wrong[name] = answer
            for _ in range(2):
                assert await user.get() == "clone 1", name
        assert wrong == {}

    run(language, tmp_path, test)
