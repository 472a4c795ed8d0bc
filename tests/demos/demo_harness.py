"""A demo that runs for real, users who talk, and the proof that nothing is left of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Optional

import aiohttp

ROOT = Path(__file__).resolve().parents[2]
DEMOS = ROOT / "demos"
SERVERS = {
    "node": ["node", str(DEMOS / "chat-node" / "server.js")],
    "python": [sys.executable, str(DEMOS / "chat-python" / "server.py")],
}
# Nothing waits this long unless it hangs; it never decides between right and wrong.
HANG_GUARD_S = 240


def free_ports() -> tuple[int, int]:
    """Two neighbours, as demos/run takes them, below those that the kernel gives to connections: other tests have many."""
    while True:
        port = random.randrange(12_000, 32_000, 2)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("", port))
            second.bind(("", port + 1))
            return port, port + 1


class Demo:
    """A program in its own session, with a temporary folder and a mark in its environment."""

    def __init__(self, folder: Path) -> None:
        self.port, self.app_port = free_ports()
        self.url, self.app_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.app_port}"
        self.mark = secrets.token_hex(8)
        self.runtime = Path(tempfile.mkdtemp(prefix="gc-demo-"))  # short: the path of a socket has at most 107 bytes
        self.log = folder / "log"

    async def start(self, command: list[str], **environment: str) -> None:
        env = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime), "GC_DEMO_MARK": self.mark, **environment}
        env.pop("GRIDCENTRIC_HOST", None)
        with self.log.open("wb") as log:
            # As a terminal starts it, whatever signals the tests themselves were told to ignore.
            self.process = await asyncio.create_subprocess_exec(
                *("env", "--default-signal", *command), env=env, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    async def start_chat(self, language: str, options: str = "") -> None:
        """The chat server; options: more of GRIDCENTRIC_AUTOSCALE, as '"maxClones": 3'. Its end waits for nobody."""
        more = f', "endLimit": 0{", " if options else ""}{options}'
        await self.start(
            SERVERS[language], CHAT_PORT=str(self.app_port), GRIDCENTRIC_AUTOSCALE=f'{{"listenPort": {self.port}{more}}}'
        )

    async def reachable(self, url: str) -> None:
        """The port is open; the chat opens the proxy's three seconds after its start."""
        while self.process.returncode is None:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with aiohttp.request("GET", f"{url}/_gridcentric/me"):  # makes nobody a user
                    return
            await asyncio.sleep(0.02)
        raise AssertionError(f"the demo ended with {self.process.returncode}\n{self.log.read_text()}")

    async def state(self) -> dict[str, Any]:
        token = re.search(r"_gridcentric(\?token=\w+)", self.log.read_text())  # where it is said, it is asked for
        async with aiohttp.request("GET", f"{self.url}/_gridcentric/state{token[1] if token else ''}") as response:
            state: dict[str, Any] = await response.json()
            return state

    def signal(self, number: int) -> None:
        """To the whole session, as a terminal does with Ctrl-C, or to the program alone with SIGKILL."""
        if number == signal.SIGINT:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        else:
            self.process.send_signal(number)

    def processes(self) -> list[int]:
        """All that came from the demo, clones, reapers and the private host among them."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                mine = int(session) == self.process.pid or self.mark.encode() in (entry / "environ").read_bytes()
                if mine and state != "Z":
                    found.append(int(entry.name))
        return found

    def clones(self) -> dict[str, int]:
        """Address -> how many sockets listen there on the demo's ports, of 127.77.0.0/16."""
        found: dict[str, int] = {}
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                address, port = fields[1].split(":")
                octets = list(reversed(bytes.fromhex(address[-8:])))
                if fields[3] == "0A" and octets[:2] == [127, 77] and int(port, 16) in (self.port, self.app_port):
                    ip = ".".join(map(str, octets))
                    found[ip] = found.get(ip, 0) + 1
        return found

    async def nothing_left(self) -> None:
        """No process, no socket, no file."""
        await self.process.wait()
        left: Any = None
        try:
            async with asyncio.timeout(60):
                while left := self.processes() or self.clones() or [*self.runtime.rglob("*")]:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"left over: {left}\n{self.log.read_text()}") from None


@contextlib.asynccontextmanager
async def demo(folder: Path, more_s: float = 0) -> AsyncIterator[Demo]:
    """Whatever happens, nothing of it survives the test. more_s: that much longer it may take."""
    made = Demo(folder)
    try:
        async with asyncio.timeout(HANG_GUARD_S + more_s):
            yield made
    except BaseException:
        print(made.log.read_text() if made.log.exists() else "")
        ended = made.process.returncode if hasattr(made, "process") else "never started"
        print(f"the demo {'still runs' if ended is None else f'ended: {ended}'}")
        raise
    finally:
        for pid in made.processes() if hasattr(made, "process") else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(made.runtime, ignore_errors=True)


class Chatter:
    """A user of the chat, with a browser's cookies."""

    def __init__(self, url: str, nick: str) -> None:
        self.url, self.nick = url, nick
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.vmid: Optional[int] = None

    async def call(self, path: str, given: Optional[dict[str, Any]] = None, status: int = 200) -> dict[str, Any]:
        async with self.session.request("GET" if given is None else "POST", self.url + path, json=given) as response:
            answer: dict[str, Any] = await response.json() if "json" in response.content_type else {}
            assert response.status == status, f"{self.nick} {path}: {response.status} {await response.text()}"
            vmid = response.headers.get("X-Gridcentric-Vmid")
            self.vmid = int(vmid) if vmid else None
            return answer

    async def join(self) -> Chatter:
        await self.call("/")
        room = await self.call("/join", {"nick": self.nick})
        self.id, self.history, self.since = room["id"], room["messages"], room["messages"][-1]["n"]
        return self

    async def say(self, text: str) -> None:
        await self.call("/send", {"id": self.id, "text": text})

    async def hear(self) -> list[dict[str, Any]]:
        """What is new; waits for it."""
        news: list[dict[str, Any]] = (await self.call(f"/recv?id={self.id}&since={self.since}"))["messages"]
        self.history += news
        self.since = max([self.since, *(message["n"] for message in news)])
        return news

    def heard(self) -> list[str]:
        return [message["text"] for message in self.history if message["type"] == "msg"]

    async def close(self) -> None:
        await self.session.close()


async def crowd(chat: Demo, count: int) -> list[Chatter]:
    """So many, one after another."""
    return [await Chatter(chat.url, f"user {n}").join() for n in range(1, count + 1)]


async def five_users(chat: Demo) -> list[Chatter]:
    """Five come in and talk: they are on three clones, with one past and separate rooms."""
    await chat.reachable(chat.app_url)
    early = await Chatter(chat.app_url, "early").join()
    await early.say("said before")
    await early.close()
    await chat.reachable(chat.url)
    users = await crowd(chat, 5)
    assert [user.vmid for user in users] == [1, 1, 2, 2, 3]
    for user in users:
        assert user.heard() == ["said before"]
        await user.say(f"from {user.nick}")
    for user in users:
        while len(user.heard()) < (2 if user.vmid == 3 else 3):
            await user.hear()
        mates = [other.nick for other in users if other.vmid == user.vmid]
        assert user.heard() == ["said before", *(f"from {nick}" for nick in mates)]
        # "early" was in the room when it was cloned: it is in each of them.
        assert (await user.call("/who"))["nicks"] == ["early", *mates]
    clones = (await chat.state())["clones"]
    assert [(clone["vmid"], clone["users"]) for clone in clones] == [(1, 2), (2, 2), (3, 1)]
    assert len({clone["ip"] for clone in clones}) == 3
    return users
