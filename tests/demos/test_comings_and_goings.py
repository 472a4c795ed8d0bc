"""200 users who come and go: nobody gets an error, and nobody is moved, as no clone dies. GC_CROWD=SECONDS: how long (2)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest
from demo_harness import Chatter, Demo, demo

SECONDS = float(os.environ.get("GC_CROWD", "2"))
USERS = 200


async def come_and_go(chat: Demo, number: int, end: float, visits: list[float]) -> None:
    """Comes in the first moments, stays a while, leaves, comes again as somebody else."""
    await asyncio.sleep(random.uniform(0, min(5.0, SECONDS)))
    while True:
        user = Chatter(chat.url, f"user {number}.{len(visits)}")
        begin = time.monotonic()
        await user.join()  # every call of it demands the right answer
        first = user.vmid
        leaves = time.monotonic() + random.uniform(0, 4)
        while time.monotonic() < min(leaves, end):
            await user.say("hello")
            await user.hear()
            assert user.vmid == first, f"{user.nick} was moved from clone {first} to {user.vmid}"
            await asyncio.sleep(random.uniform(0, 1))
        await user.call("/part", {"id": user.id})
        assert user.vmid == first
        await user.close()
        visits.append(time.monotonic() - begin)
        if time.monotonic() >= end:
            return
        await asyncio.sleep(random.uniform(0, 1))


@pytest.mark.parametrize("language", ["node", "python"])
def test_two_hundred_users_come_and_go(language: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path, SECONDS) as chat:
            # Short times, so that clones drain and end while others come.
            await chat.start_chat(language, '"userTimeout": 3000, "interval": 250')
            await chat.reachable(chat.url)
            end = time.monotonic() + SECONDS
            visits: list[float] = []
            await asyncio.gather(*(come_and_go(chat, number, end, visits) for number in range(USERS)))
            print(f"\n{language}: {len(visits)} visits in {SECONDS:.0f} s")
            assert len(visits) >= USERS
            chat.signal(signal.SIGINT)
            await chat.nothing_left()

    asyncio.run(main())
