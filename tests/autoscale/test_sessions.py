"""Clients of socket.io without a cookie jar: what belongs to a session goes to the clone that has it. For both languages."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from autoscale_harness import Program, User, World
from test_traffic import run

TWO_CLONES = {"minClones": 2, "usersPerClone": 1000, "strategy": "round-robin", "users": "cookie"}


async def answer(world: World, path: str) -> tuple[str, str]:
    """Which clone has answered, and what, to a client that keeps nothing."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        async with client.get(f"http://127.0.0.1:{world.listen_port}{path}") as response:
            return response.headers["X-Gridcentric-Vmid"], await response.text()


@pytest.mark.parametrize("version", [3, 4])
def test_polls_go_to_the_clone_that_has_the_session(version: int, language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        begin = f"/socket.io/?EIO={version}&transport=polling"
        sessions = {}
        for _ in range(4):
            clone, text = await answer(world, begin)
            sessions[text.split('"sid":"')[1].split('"')[0]] = clone
        assert len(sessions) == 4 and set(sessions.values()) == {"1", "2"}
        for session, clone in sessions.items():
            polls = [answer(world, f"{begin}&sid={session}") for _ in range(4)]
            assert {there for there, _ in await asyncio.gather(*polls)} == {clone}

    run(language, tmp_path, test, TWO_CLONES)


def test_an_invented_session_is_a_strangers(language: str, tmp_path: Path) -> None:
    async def test(world: World, program: Program, user: User) -> None:
        clones = {(await answer(world, "/socket.io/?EIO=4&transport=polling&sid=invented"))[0] for _ in range(4)}
        assert clones == {"1", "2"}

    run(language, tmp_path, test, TWO_CLONES)
