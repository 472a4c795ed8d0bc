"""What the tests of all demos but the chat share: starting one as a user does, its page in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Optional

import aiohttp
from demo_harness import DEMOS, ROOT, Demo, demo

START = [sys.executable, str(DEMOS / "start")]
MAKE = [
    "make",
    "--no-print-directory",
    "-C",
    str(ROOT),
    "-o",
    "build",
    "demo",
]  # without its build (-o): the sessions have built
LOOK = Path(__file__).with_name("look.js")


async def answers(played: Demo) -> None:
    """The demo's page is there."""
    while True:
        assert played.process.returncode is None, played.log.read_text()
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with aiohttp.request("GET", played.url) as page:
                assert page.status == 200
                return
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def playing(name: str, folder: Path, *options: str, **environment: str) -> AsyncIterator[Demo]:
    """The demo with its page open; Ctrl-C ends it, and nothing is left."""
    async with demo(folder) as played:
        await played.start([*START, name, "--port", str(played.port), *options], **environment)
        await answers(played)
        yield played
        played.signal(signal.SIGTERM)
        await played.nothing_left()
        assert played.process.returncode == 128 + signal.SIGTERM, played.log.read_text()


async def states(played: Demo) -> AsyncIterator[dict[str, Any]]:
    """Each state that the demo sends to its pages."""
    async with aiohttp.request("GET", f"{played.url}/events") as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


async def look(
    played: Demo, steps: list[list[str]], read: dict[str, str], picture: Optional[str] = None
) -> dict[str, list[str]]:
    """The texts that the page shows after these steps. GC_SCREENSHOTS=docs/img takes the pictures of the docs anew."""
    assert shutil.which("chromium"), "this test needs Debian's chromium: apt-get install chromium"
    folder = os.environ.get("GC_SCREENSHOTS")
    wanted = {"url": played.url, "steps": steps, "read": read, "picture": f"{folder}/{picture}" if folder and picture else None}
    browser = await asyncio.create_subprocess_exec("node", str(LOOK), json.dumps(wanted), stdout=asyncio.subprocess.PIPE)
    out, _ = await browser.communicate()
    assert browser.returncode == 0, played.log.read_text()
    seen = json.loads(out)
    assert seen["problems"] == []
    assert not seen["wide"], "the page is wider than a telephone"
    texts: dict[str, list[str]] = seen["read"]
    return texts
