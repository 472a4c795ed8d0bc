"""The private host of the chat's master is killed: its clones end with it, and the service has others by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
from demo_harness import Demo, demo


def host_of(chat: Demo) -> int:
    return next(pid for pid in chat.processes() if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"gc\0host"))


def test_the_service_has_clones_again(language: str, tmp_path: Path) -> None:
    async def test(chat: Demo) -> None:
        await chat.start_chat(language, '"minClones": 2, "interval": 200')
        await chat.reachable(chat.url)
        for _ in range(3):
            while len((await chat.state())["clones"]) < 2:
                await asyncio.sleep(0.02)
            os.kill(host_of(chat), signal.SIGKILL)
            answers = []
            async with aiohttp.ClientSession() as session:  # held until there is a clone again
                for _ in range(20):
                    async with session.get(f"{chat.url}/") as page:
                        answers.append((page.status, await page.text()))
            assert answers[-1][0] == 200
            # What was under way in a clone that ended may be told so; the host's place is nobody's business.
            assert all(status == 200 or "host.sock" not in text for status, text in answers)
        chat.process.send_signal(signal.SIGTERM)
        await chat.nothing_left()

    async def main() -> None:
        async with demo(tmp_path) as chat:
            await test(chat)

    asyncio.run(main())
