"""What the proxy forwards of requests and responses: hop-by-hop and forwarding headers, paths, upgrades. Both languages."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from autoscale_harness import Program, User, World
from test_traffic import ONE_CLONE, raw, run, status


async def seen(world: World, lines: list[str], path: str = "/headers") -> dict[str, list[str]]:
    """The headers that a clone gets with a request of these lines; its response's own under `answer`."""
    head = [f"GET {path} HTTP/1.1", "Host: a", "X-User: u", "Connection: close", *lines, "", ""]
    answer = await whole(world, "\r\n".join(head).encode())
    head, body = answer.split(b"\r\n\r\n", 1)
    assert status(answer) == 200, answer
    if b"chunked" in head.lower():
        body = body.split(b"\r\n", 1)[1].rsplit(b"\r\n0\r\n", 1)[0]
    headers: dict[str, list[str]] = {"answer": head.decode().lower().split("\r\n")[1:]}
    for name, value in json.loads(body):
        headers.setdefault(name.lower(), []).append(value)
    return headers


async def whole(world: World, data: bytes) -> bytes:
    """All that is answered to these bytes, until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.listen_port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


HOPS = {
    "named by Connection": ["Connection: close, X-Hop", "X-Hop: 1"],
    "keep-alive": ["Keep-Alive: timeout=5"],
    "proxy-authorization": ["Proxy-Authorization: Basic eDp5"],
    "proxy-connection": ["Proxy-Connection: keep-alive"],
    "te": ["TE: trailers"],
    "trailer": ["Trailer: X-After"],
    "http2-settings": ["Connection: close, Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
    "upgrade": ["Connection: close, Upgrade", "Upgrade: TLS/1.0"],
}


@pytest.mark.parametrize("name", HOPS)
def test_headers_of_one_hop_end_here(name: str, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        got = await seen(world, HOPS[name])
        assert got["connection"] == ["keep-alive"]
        proxys = "x-hop keep-alive proxy-authorization proxy-connection te trailer upgrade http2-settings"
        assert not set(proxys.split()) & set(got)

    run(language, tmp_path, test)


def test_an_answers_headers_of_one_hop_end_here(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        answer = (await seen(world, [], "/hops"))["answer"]
        names = [line.split(":")[0] for line in answer]
        for hop in ("x-hop", "proxy-authenticate", "upgrade", "x-gridcentric-old"):
            assert hop not in names, answer
        assert answer.count("x-gridcentric-vmid: 1") == 1
        assert names.count("x-gridcentric-vmid") == 1
        assert [line for line in answer if line.startswith("set-cookie")] == ["set-cookie: a=1", "set-cookie: b=2"]

    run(language, tmp_path, test)


SAID = ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example", "X-Forwarded-Port: 443"]


@pytest.mark.parametrize("trust", [False, True])
def test_what_a_front_says_counts_when_it_is_trusted(trust: bool, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        got = await seen(world, [*SAID, "Forwarded: for=203.0.113.9", "X-Real-IP: 203.0.113.9"])
        assert got["x-forwarded-for"] == ["203.0.113.9, 127.0.0.1" if trust else "127.0.0.1"]
        assert got["x-forwarded-proto"] == ["https" if trust else "http"]
        assert got["x-forwarded-host"] == ["shop.example" if trust else "a"]
        assert got["x-forwarded-port"] == ["443" if trust else str(world.listen_port)]
        assert ("forwarded" in got) == ("x-real-ip" in got) == trust

    run(language, tmp_path, test, {**ONE_CLONE, "trustProxy": trust})


PATHS = ["/x/../y", "//x//y", "/%2e%2e/a", "/a%20b?c=%zz&&d", "/a?", "/a?b?c#d", "/;x=1/$&+,", "/%E4%bd", "/a|b\\c^`{}"]


@pytest.mark.parametrize("path", PATHS)
def test_the_path_is_passed_as_it_came(path: str, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        answer = await raw(world, f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Echo-Path: 1\r\nX-User: u\r\n\r\n".encode())
        assert status(answer) == 200, answer
        assert f"X-Path: {path}" in answer.decode().split("\r\n")

    run(language, tmp_path, test)


@pytest.mark.parametrize("hosts", [["a", "b"], ["a", "a"]])
def test_two_hosts_are_refused(hosts: list[str], language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        lines = "".join(f"Host: {host}\r\n" for host in hosts)
        answer = await raw(world, f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
        assert status(answer) == 400
        assert world.bodies == []

    run(language, tmp_path, test)


UPGRADES = {
    "h2c, as curl and Java ask": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "without Connection": "Upgrade: websocket-like\r\n",
    "TLS": "Connection: upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n",
}


@pytest.mark.parametrize("name", UPGRADES)
def test_an_upgrade_that_is_no_websocket_is_answered_as_if_not_asked_for(name: str, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.listen_port)
        body = "x" * 1000
        request = f"POST / HTTP/1.1\r\nHost: a\r\nX-User: u\r\nContent-Length: 1000\r\n{UPGRADES[name]}\r\n{body}"
        for _ in range(3):  # on one connection
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert status(head) == 200, head
            assert b"101" not in head.split(b"\r\n", 1)[0]
            assert b"clone 1 1000" in await reader.readuntil(b"1000")
            if b"chunked" in head.lower():
                await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        assert [len(data) for _, data in world.bodies] == [1000] * 3

    run(language, tmp_path, test)


def test_a_websocket_that_the_app_refuses_gets_its_answer(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        asked = b"GET /headers HTTP/1.1\r\nHost: a\r\nX-User: u\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        asked += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        asked = asked.replace(b"Connection: Upgrade", b"X-Own: yes\r\nConnection: close, Upgrade")
        for path, code, header, body in (
            ("/headers", 200, "Set-Cookie: own=1; Path=/", '["X-Own", "yes"]'),
            ("/refused", 403, "Content-Type: text/plain; charset=utf-8", "no"),
            ("/moved", 302, "Location: /headers", "elsewhere"),
        ):
            answer = (await whole(world, asked.replace(b"/headers", path.encode()))).decode()
            assert status(answer.encode()) == code, answer
            assert header.lower() in answer.lower() and body in answer and "X-Gridcentric-Vmid: 1" in answer, answer
        assert await user.get() == "clone 1"

    run(language, tmp_path, test)
