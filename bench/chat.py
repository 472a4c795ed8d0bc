"""The chat's row: users join the chat that scales itself; what the proxy costs."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import time

import aiohttp

from .proxies import proxies
from .report import Figure
from .servers import ROOT, free_port

INTERVAL_MS = 1000  # the autoscaler's interval; a user may join at any time within it
USERS = 13


async def _visit(session: aiohttp.ClientSession, url: str) -> tuple[float, str]:
    """ms of one request, and which domain answered."""
    start = time.perf_counter()
    async with session.get(url) as response:
        await response.read()
        response.raise_for_status()
        return (time.perf_counter() - start) * 1e3, response.headers.get("x-gridcentric-vmid", "")


async def _reachable(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            try:
                await _visit(session, f"{url}/_gridcentric/me")
                return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
    raise RuntimeError("the chat did not open its port")


async def _measure(url: str) -> list[float]:
    await _reachable(url)
    first_answers, seen, sessions = [], set[str](), []
    for _ in range(USERS):
        sessions.append(aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)))
        ms, vmid = await _visit(sessions[-1], f"{url}/")
        if vmid not in seen:
            first_answers.append(ms)
        seen.add(vmid)
    for session in sessions:
        await session.close()
    return first_answers


def chat() -> list[Figure]:
    """from a user's join to the first answer of a new clone; what the proxy costs"""
    port, app_port = free_port(), free_port()
    env = os.environ | {
        "CHAT_PORT": str(app_port),
        "GRIDCENTRIC_AUTOSCALE": json.dumps({"listenPort": port, "interval": INTERVAL_MS}),
        "NODE_PATH": str(ROOT / "node_modules"),
    }
    server = subprocess.Popen(["node", str(ROOT / "demos" / "chat-node" / "server.js")], env=env, stdout=subprocess.DEVNULL)
    try:
        firsts = asyncio.run(_measure(f"http://127.0.0.1:{port}"))
    finally:
        server.terminate()
        server.wait()
    beyond = statistics.median(firsts) - INTERVAL_MS
    return [
        Figure("chat", f"join to the first answer of a new clone, median of {len(firsts)}, less the interval", beyond, "ms",
               bar="below 50 ms", met=beyond < 50, details={"ms": firsts}),
        *proxies(),
    ]  # fmt: skip
