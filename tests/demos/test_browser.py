"""The demo in headless Chromium. GC_SCREENSHOTS=docs/img takes the pictures of the docs anew."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path

from demo_harness import demo

BROWSER = Path(__file__).with_name("browser.js")


def test_five_pages_and_a_dashboard(language: str, tmp_path: Path) -> None:
    assert shutil.which("chromium"), "this test needs Debian's chromium: apt-get install chromium"

    async def main() -> None:
        async with demo(tmp_path) as chat:
            await chat.start_chat(language)
            await chat.reachable(chat.url)
            folder = os.environ.get("GC_SCREENSHOTS") or str(tmp_path)
            browser = await asyncio.create_subprocess_exec(
                "node", str(BROWSER), chat.url, folder, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await browser.communicate()
            assert browser.returncode == 0
            seen = json.loads(out)
            assert seen["problems"] == []
            assert [page["vm"] for page in seen["pages"]] == ["1", "1", "2", "2", "3"]
            assert [page["here"] for page in seen["pages"]] == ["2 here"] * 4 + ["1 here"]
            evil = '<img src=x onerror="window.evil=1"><b>bold</b>'
            rooms = [[evil, "Grace was here"]] * 2 + [["Alan was here", "Edsger was here"]] * 2 + [["Barbara was here"]]
            assert [page["texts"] for page in seen["pages"]] == rooms
            assert [page["evil"] for page in seen["pages"]] == [0] * 5
            assert not any(page["wide"] for page in seen["pages"])
            assert len({page["ip"] for page in seen["pages"]}) == 3
            assert seen["dashboard"]["users"] == "5"
            assert seen["dashboard"]["live"] == "on"
            rows = [(clone["vmid"], clone["users"]) for clone in seen["dashboard"]["clones"]]
            assert rows == [("3", 1), ("2", 2), ("1", 2)]
            assert all(clone["took"].endswith("ms") for clone in seen["dashboard"]["clones"])
            chat.signal(signal.SIGINT)
            await chat.nothing_left()

    asyncio.run(main())
