"""The dashboard: what it shows, to whom, and what slow watchers cost. For both languages."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from autoscale_harness import Program, User, World
from test_traffic import COOKIES, ONE_CLONE, raw, run, status


def test_dashboard(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        for _ in range(2):  # with its cookie
            assert await user.get() == "clone 1"
        base = f"{user.url}/_gridcentric"
        async with user.session.get(base) as page:
            assert page.content_type == "text/html"
            assert "<title>gridcentric</title>" in await page.text()
            assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        async with user.session.get(f"{base}/me") as me:
            assert await me.json() == {"vmid": 1, "ip": "127.78.0.2", "here": 1, "clones": 1, "users": 1}
        async with aiohttp.request("GET", f"{base}/me") as nobody:
            assert await nobody.json() == {"vmid": None, "ip": None, "here": 0, "clones": 1, "users": 1}
        async with user.session.get(f"{base}/state") as state:
            told = await state.json()
        assert told["clones"][0] == {
            "vmid": 1, "parent": 0, "ip": "127.78.0.2", "users": 1, "draining": False, "ms": told["clones"][0]["ms"],
            "of": 1, "at": 0, "firstAnswer": 0, "healthy": True,
        }  # fmt: skip
        assert told["history"] == [[0, 0, 1]]
        assert [ticket["status"] for ticket in told["tickets"]] == ["active", "active"]
        for path, method, expected in (("/nothing", "GET", 404), ("", "POST", 405)):
            async with user.session.request(method, base + path) as answer:
                assert answer.status == expected
        # None of them became a user, nor did the page.
        assert (await program.do("state"))["users"] == 1

    run(language, tmp_path, test, COOKIES)


def test_the_feed_tells_what_happens(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        async def event(response: aiohttp.ClientResponse) -> tuple[str, dict[str, Any]]:
            text = (await response.content.readuntil(b"\n\n")).decode()
            fields = dict(line.split(": ", 1) for line in text.strip().splitlines())
            return fields["event"], json.loads(fields["data"])

        async with user.session.get(f"{user.url}/_gridcentric/events") as feed:
            kind, told = await event(feed)
            assert kind == "hello"
            assert told["users"] == 0
            assert await user.get() == "clone 1"
            while told["users"] != 1:
                kind, told = await event(feed)
                assert kind == "state"
            await world.end(1)
            await program.do("tick")
            while [clone["vmid"] for clone in told["clones"]] != [2]:
                kind, told = await event(feed)
            assert [e["text"] for e in told["events"]][1] == "clone 1 has ended"

    run(language, tmp_path, test)


def test_pages_that_do_not_read_are_cut_off(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        assert await user.get() == "clone 1"
        pages = [await asyncio.open_connection("127.0.0.1", world.listen_port, limit=1024) for _ in range(70)]
        answers = []
        for reader, writer in pages:
            writer.write(b"GET /_gridcentric/events HTTP/1.1\r\nHost: a\r\n\r\n")
            answers.append(status(await reader.read(12)))
        assert answers.count(200) == 64
        assert answers.count(503) == 6
        for _, writer in pages:
            writer.transport.abort()
        assert await user.get() == "clone 1"

    run(language, tmp_path, test)


def test_the_dashboard_can_be_off(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        async with user.session.get(f"{user.url}/_gridcentric") as answer:
            assert answer.status == 404
        assert await user.get() == "clone 1"
        async with user.session.get(f"{user.url}/_gridcentric/me") as me:
            assert (await me.json())["vmid"] == 1

    run(language, tmp_path, test, {**COOKIES, "dashboard": False})


TOKEN = "0123456789abcdef-+/="
LOCAL, FRONT = {}, {"X-Forwarded-For": "203.0.113.9"}
# The option, trustProxy, the request's headers and query, whether it may see the dashboard
ADMISSIONS = [
    (True, False, LOCAL, "", True),
    (True, False, FRONT, "", False),  # it came through an untrusted front proxy
    (True, False, {"Forwarded": "for=203.0.113.9"}, "", False),
    (True, True, FRONT, "", False),  # the front proxy says that it is from elsewhere
    (True, True, {"X-Forwarded-For": "127.0.0.1"}, "", True),
    ({"token": TOKEN}, False, LOCAL, "", False),
    ({"token": TOKEN}, False, LOCAL, "?token=wrong", False),
    ({"token": TOKEN}, False, LOCAL, "?token=", False),
    ({"token": TOKEN}, False, FRONT, "?token=0123456789abcdef-%2B%2F%3D", True),
    ({"token": TOKEN}, False, {"Authorization": f"Bearer {TOKEN}"}, "", True),
    ({"token": TOKEN}, False, {"Authorization": "Bearer"}, "", False),
    ({"token": TOKEN}, False, {"Cookie": "gridcentric-dashboard=0123456789abcdef-%2B%2F%3D"}, "", True),
    ({"token": TOKEN}, False, {"Cookie": "gridcentric-dashboard=%ff%"}, "", False),
    ({"function": "yes"}, False, FRONT, "", True),
    ({"function": "no"}, False, LOCAL, "", False),  # only true admits
    ({"function": "broken"}, False, LOCAL, "", False),
]


@pytest.mark.parametrize("option,trust,headers,query,admitted", ADMISSIONS)
def test_who_may_see_it(
    option: Any, trust: bool, headers: dict[str, str], query: str, admitted: bool, language: str, tmp_path: Path
) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        for path in ("", "/", "/state", "/events", "/nothing"):
            async with user.session.get(f"{user.url}/_gridcentric{path}{query}", headers=headers) as answer:
                assert (answer.status != 403) == admitted, (path, answer.status)
        async with user.session.get(f"{user.url}/_gridcentric/me{query}", headers=headers) as answer:
            assert answer.status == 200

    run(language, tmp_path, test, {**COOKIES, "dashboard": option, "trustProxy": trust})


def test_the_token_stays_with_the_page(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        url = f"{user.url}/_gridcentric"
        async with user.session.get(f"{url}?token=0123456789abcdef-%2B%2F%3D") as page:
            assert page.status == 200
            assert "Path=/_gridcentric; HttpOnly; SameSite=Strict" in page.headers["Set-Cookie"]
        async with user.session.get(f"{url}/state") as state:
            assert state.status == 200
        async with user.session.get(f"{user.url}/headers") as app:
            assert "gridcentric-dashboard" not in await app.text()

    run(language, tmp_path, test, {**ONE_CLONE, "dashboard": {"token": TOKEN}})


LOOK_ALIKES = ["/_gridcentric%2fstate", "/%5fgridcentric/state", "/_gridcentricx", "//_gridcentric", "/a/../_gridcentric"]


@pytest.mark.parametrize("path", LOOK_ALIKES)
def test_what_only_looks_like_it_is_the_apps(path: str, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        answer = await raw(world, f"GET {path} HTTP/1.1\r\nHost: a\r\nX-User: u\r\n\r\n".encode())
        assert status(answer) == 200
        assert b"X-Gridcentric-Vmid: 1" in answer

    run(language, tmp_path, test)


def test_a_flood_of_queries(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        for start in range(0, 1000, 50):
            asked = [user.session.get(f"{user.url}/_gridcentric/state?{n}={'x' * 5000}") for n in range(start, start + 50)]
            for answer in await asyncio.gather(*asked):
                assert answer.status == 200
                answer.release()
        assert await user.get() == "clone 1"

    run(language, tmp_path, test)
