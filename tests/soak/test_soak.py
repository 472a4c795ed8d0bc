"""Endurance: masters that clone, join, die, are stopped and killed, on one shared host, and the chat under load beside them. At
the end there is no process, socket, descriptor, folder or megabyte too many, and the ledger adds up.

GC_SOAK=MINUTES says how long (`nox -s soak -- MINUTES`), GC_SOAK_CLONES=N until N clones were made; with -s it says what it
did.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MINUTES = float(os.environ.get("GC_SOAK", "0.25"))
CLONES = int(os.environ.get("GC_SOAK_CLONES", "0"))
CPUS = 128
WORKERS = 2
USERS = 12
# Rounds and clones of each, and the exit code that it must have.
KINDS = {
    "joins": (20, 20, 0),
    "dies": (10, 12, 0),
    "grows": (6, 4, 0),
    "stops": (6, 6, 0),
    "raises": (1, 8, 1),
    "vanishes": (1, 8, -signal.SIGKILL),
    "stopped": (4, 8, 0),
    "leaves": (1, 8, 0),
}
# What a host may hold more than at the beginning: its allocator's slack, not reports nor books of families.
SLACK_MIB = 16
HANG_GUARD_S = 240


class Host:
    """A shared process host, what it says and what it holds."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "host.sock"
        self.mark = secrets.token_hex(8)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
        self.environment |= {"GRIDCENTRIC_HOST": f"unix:{self.path}", "GC_SOAK_MARK": self.mark, "XDG_RUNTIME_DIR": str(folder)}

    async def start(self) -> None:
        command = ["gc", "host", "--socket", str(self.path), "--cpus", str(CPUS)]
        self.process = await asyncio.create_subprocess_exec(*command, env=self.environment, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout
        assert (await self.process.stdout.readline()).startswith(b"listening")

    async def ask(self, verb: str) -> list[list[str]]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        writer.write(f"gridcentric/1 observe\n1 {verb}\n".encode())
        await reader.readline()
        rows = []
        while (fields := (await reader.readline()).decode().split())[1] == "item":
            rows.append(fields[2:])
        writer.close()
        await writer.wait_closed()
        return rows

    async def is_idle(self) -> bool:
        info = {key: value for key, value, *_ in await self.ask("info")}
        return (info["families"], info["domains"], info["cpus_free"]) == ("0", "0", str(CPUS))

    def resident_mib(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def descriptors(self) -> list[str]:
        """By what they are, without their numbers."""
        found = []
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(str(entry.readlink()).split(":")[0])
        return sorted(found)

    def others(self) -> list[int]:
        """All processes that came of this, but the host."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return [pid for pid in found if pid != self.process.pid]


class Play:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.end = time.monotonic() + MINUTES * 60
        self.made = 0
        self.did: Counter[str] = Counter()

    def is_over(self) -> bool:
        return time.monotonic() >= self.end and self.made >= CLONES

    async def masters(self, number: int) -> None:
        kinds = list(KINDS)
        for turn in range(number, sys.maxsize):
            if self.is_over() and turn >= number + len(kinds):  # each kind at least once
                return
            await self.master(kinds[turn % len(kinds)])

    async def master(self, kind: str) -> None:
        rounds, clones, code = KINDS[kind]
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "programs" / "master.py"), kind, str(rounds), str(clones), env=self.host.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout and process.stderr
        complaint = asyncio.ensure_future(process.stderr.read())
        async for line in process.stdout:
            if line.startswith(b"made"):
                self.made += int(line.split()[1])
            elif kind == "vanishes":
                process.kill()
                break  # its clones end a little later, and hold its output until then
            else:
                process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(random.uniform(0, 0.2))
                process.send_signal(signal.SIGCONT)
        ended = await process.wait()
        said = (await complaint).decode()
        assert ended == code, f"{kind}: {ended}\n{said}"
        assert (not said) or kind == "raises", f"{kind}: {said}"
        self.did[kind] += 1

    async def user(self, url: str, number: int) -> None:
        """Comes, talks and leaves, again and again; is answered each time, and by one clone alone."""
        turn = 0
        while not self.is_over():
            turn += 1
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                seen = set()

                async def ask(path: str, given: Any = None, session: aiohttp.ClientSession = session) -> Any:
                    async with session.request("POST" if given else "GET", url + path, json=given) as response:
                        text = await response.text()
                        assert response.status == 200, f"user {number} {path}: {response.status} {text}"
                        seen.add(response.headers["X-Gridcentric-Vmid"])  # noqa: B023
                        return await response.json() if "json" in response.content_type else text

                await ask("/")
                me = await ask("/join", {"nick": f"user {number}.{turn}"})
                for _ in range(random.randint(1, 10)):
                    await ask("/send", {"id": me["id"], "text": "hello"})
                    await asyncio.sleep(random.uniform(0, 0.1))
                await ask("/part", {"id": me["id"]})
                assert len(seen) == 1, f"user {number} was moved: {seen}"
            self.did["visits"] += 1


@contextlib.asynccontextmanager
async def chat(host: Host, folder: Path) -> AsyncIterator[str]:
    """The chat of Node on this host: its address."""
    ports = []
    for _ in range(2):
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        ports.append(int(server.sockets[0].getsockname()[1]))
        server.close()
    options = f'{{"listenPort": {ports[0]}, "maxClones": 8, "interval": 200}}'
    with (folder / "chat.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "node", str(ROOT / "demos" / "chat-node" / "server.js"), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            env={**host.environment, "CHAT_PORT": str(ports[1]), "GRIDCENTRIC_AUTOSCALE": options},
        )  # fmt: skip
    url = f"http://127.0.0.1:{ports[0]}"
    while process.returncode is None:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with aiohttp.request("GET", f"{url}/_gridcentric/me"):
                break
        await asyncio.sleep(0.05)
    try:
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() in (0, 130, -signal.SIGINT), (folder / "chat.log").read_text()


async def until_idle(host: Host) -> None:
    async with asyncio.timeout(HANG_GUARD_S):
        while host.others() or not await host.is_idle():
            await asyncio.sleep(0.05)


async def at_rest(host: Host) -> list[str]:
    """The descriptors of a host that has noticed that its last visitors have gone: they stay the same for a while."""
    seen, same = host.descriptors(), 0
    while same < 10:
        await asyncio.sleep(0.05)
        now = host.descriptors()
        seen, same = now, same + 1 if now == seen else 0
    return seen


async def soak(folder: Path) -> None:
    host = Host(folder)
    await host.start()
    try:
        play = Play(host)
        for kind in KINDS:  # what the host keeps for later, it keeps from here on
            await play.master(kind)
        await until_idle(host)
        before, resident, files = await at_rest(host), host.resident_mib(), sorted(folder.iterdir())
        begin, warm = time.monotonic(), play.made
        play.end = begin + MINUTES * 60
        async with chat(host, folder) as url:
            tasks = [asyncio.create_task(play.masters(number * 4)) for number in range(WORKERS)]
            tasks += [asyncio.create_task(play.user(url, number)) for number in range(USERS)]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        await until_idle(host)
        after = await at_rest(host)
        took, more = time.monotonic() - begin, host.resident_mib() - resident
        print(
            f"\n{play.made - warm} clones in {took:.0f} s, {dict(play.did)}; the host: {resident:.1f} MiB, {more:+.1f} MiB, "
            f"{len(before)} descriptors, {len(after) - len(before):+d}"
        )
        assert play.did["visits"]
        assert after == before
        assert more < SLACK_MIB
        assert sorted(path for path in folder.iterdir() if path.name != "chat.log") == files
    finally:
        for pid in host.others():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        host.process.terminate()
        assert await host.process.wait() == 0
    assert not host.path.exists() and not host.others()


def test_nothing_is_left_after_a_while(tmp_path: Path) -> None:
    asyncio.run(soak(tmp_path))
