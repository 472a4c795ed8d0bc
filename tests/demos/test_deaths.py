"""Clones that are killed under load: every answer comes from the clone that it says it comes from, and nothing is done twice.

GC_DEATHS=500 kills that many clones in each of the cases (10). With -s it says how many requests met what.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Optional

import aiohttp
import pytest
from demo_harness import Demo, demo

DEATHS = int(os.environ.get("GC_DEATHS", "10"))
USERS = 16
CLONES = 4
PROGRAMS = Path(__file__).parent / "programs"
COMMANDS = {"node": ["node", str(PROGRAMS / "echo.js")], "python": [sys.executable, str(PROGRAMS / "echo.py")]}


class Client:
    """One user's requests, one after another until it is told to stop."""

    def __init__(self, url: str, number: int, met: Counter[str]) -> None:
        self.url, self.number, self.met = url, number, met
        self.stopped = False
        self.answered: set[str] = set()  # bodies of POSTs that were answered 200

    async def run(self) -> None:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            count = 0
            while not self.stopped:
                count += 1
                name = f"/{self.number}.{count}"
                method = "POST" if count % 2 else "GET"
                await self._ask(session, method, name)

    async def _ask(self, session: aiohttp.ClientSession, method: str, name: str) -> None:
        async with session.request(method, self.url + name, data=name if method == "POST" else None) as response:
            text = await response.text()
            who = response.headers.get("X-Gridcentric-Vmid")
        if response.status == 200:
            assert text == f"{who} {method} {name}" and who != "0", f"the answer to {method} {name} of clone {who} is {text!r}"
            if method == "POST":
                self.answered.add(name)
        else:
            # Its clone died with it, or no clone is there yet. Both are said by the proxy.
            assert response.status in (502, 503) and who is None, f"{method} {name}: {response.status} {text}"
        self.met[f"{method} {response.status}"] += 1


async def clones_of(chat: Demo) -> dict[int, int]:
    """vmid -> process of the clones that live, as the private host tells an observer."""
    (path,) = chat.runtime.rglob("host.sock")
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"gridcentric/1 observe\n1 list_all\n")
    await reader.readline()
    found = {}
    while (line := (await reader.readline()).decode().split())[1] == "item":
        _, _, _, vmid, _, _, _, state, pid, *_ = line
        if vmid != "0" and state == "running" and pid != "-":
            found[int(vmid)] = int(pid)
    writer.close()
    return found


async def kill_one(chat: Demo, killed: set[int]) -> Optional[int]:
    """A clone that was not killed yet; None: there is none just now."""
    living = {vmid: pid for vmid, pid in (await clones_of(chat)).items() if vmid not in killed}
    if len(living) < 2:
        return None
    vmid = random.choice(sorted(living))
    with contextlib.suppress(ProcessLookupError):
        os.kill(living[vmid], signal.SIGKILL)
        killed.add(vmid)
        return vmid
    return None


@pytest.mark.parametrize("mode", ["pidns", "plain"])
@pytest.mark.parametrize("language", ["node", "python"])
def test_deaths(language: str, mode: str, tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.touch()

    async def main() -> None:
        async with demo(tmp_path, 4 * DEATHS) as chat:
            options = f'{{"listenPort": {chat.port}, "minClones": {CLONES}, "usersPerClone": 4, "interval": 50}}'
            await chat.start(
                COMMANDS[language], CHAT_PORT=str(chat.app_port), GRIDCENTRIC_AUTOSCALE=options, DONE=str(done),
                GRIDCENTRIC_CLONE_MODE=mode,
            )  # fmt: skip
            await chat.reachable(chat.url)
            met: Counter[str] = Counter()
            clients = [Client(chat.url, number, met) for number in range(USERS)]
            tasks = [asyncio.create_task(client.run()) for client in clients]
            killed: set[int] = set()
            while len(killed) < DEATHS and not any(task.done() for task in tasks):
                before = met.total()
                if await kill_one(chat, killed) is None:
                    await asyncio.sleep(0.01)
                    continue
                while met.total() < before + USERS and not any(task.done() for task in tasks):
                    await asyncio.sleep(0.005)  # requests meet the gap
            for client in clients:
                client.stopped = True
            await asyncio.gather(*tasks)
            print(f"\n{language}, {mode}: {len(killed)} deaths, {dict(sorted(met.items()))}")
            assert met["GET 200"] > DEATHS and met["POST 200"] > DEATHS
            did = Counter(done.read_text().split())
            assert [name for name, times in did.items() if times > 1] == [], "done twice"
            assert set().union(*(client.answered for client in clients)) <= set(did), "answered and not done"
            chat.signal(signal.SIGINT)
            await chat.nothing_left()

    asyncio.run(main())
