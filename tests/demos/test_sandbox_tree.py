"""The tree of sandboxes, small: what each branch changed and passed, what is kept, what the page shows."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from demo_harness import DEMOS, demo
from playing import START, answers, look, playing, states

SMALL = ("--ways", "4", "--megabytes", "1")


async def kept(played: Any) -> dict[str, Any]:
    async for state in states(played):
        if state["kept"]:
            return state
    raise AssertionError(played.log.read_text())


def test_the_best_branch_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            folder = tmp_path / "a folder"
            await played.start([*START, "sandbox-tree", "--port", str(played.port), *SMALL, "--keep", str(folder), "--once"])
            assert await played.process.wait() == 0, played.log.read_text()
            text = played.log.read_text()
            assert "session 0, before any change: 5 of 9 tests pass\n" in text
            forks = re.findall(
                r"^session (\d) forked 4 ways: \d+ ms until all have answered, \d+ ms of them gc clone$", text, re.M
            )
            assert forks == ["0", "4"]
            assert "session 7, Both of these: 9 of 9 tests pass\n" in text
            assert f"kept: {folder} (5 files); the real folder is unchanged\n" in text
            names = ["check.py", "index.py", "server.py", "suggest.py", "text.txt"]
            assert sorted(path.name for path in folder.iterdir()) == names
            assert "index.place(start)" in (folder / "suggest.py").read_text()
            await played.nothing_left()

    asyncio.run(main())


def test_the_page(tmp_path: Path) -> None:
    async def main() -> None:
        pictures = bool(os.environ.get("GC_SCREENSHOTS"))
        small = () if pictures else ("--ways", "10", "--megabytes", "1")
        folder = Path("/tmp/gridcentric-sandbox-tree") if pictures else tmp_path / "kept"
        async with playing("sandbox-tree", tmp_path, *small, "--keep", str(folder)) as played:
            state = await kept(played)
            nodes = {node["vmid"]: node for node in state["nodes"]}
            passed = {vmid: node["passed"] for vmid, node in nodes.items()}
            assert passed == dict(enumerate([5, 6, 5, 6, 7, 6, 5, 4, 2, 1, 4, 8, 8, 9, 3, 5]))
            changed = {vmid: [(file["kind"], file["path"]) for file in node["files"]] for vmid, node in nodes.items()}
            assert changed[10] == [("D", "text.txt"), ("A", "words.txt")]
            assert changed[15] == [("A", "favourites.txt"), ("C", "suggest.py")]
            assert all(changed[vmid] == [("C", "suggest.py")] for vmid in nodes if vmid not in (0, 10, 15))
            # Compared with what it was forked from, not with what all have started from.
            assert [line for line in nodes[11]["diff"] if re.match(r"[-+][^-+]", line)] == ["+    start = start.lower()"]
            assert [vmid for vmid, node in nodes.items() if node["state"] != "ended"] == [0, 13]
            why = {test["name"]: test["why"] for test in nodes[8]["tests"]}
            assert why["begin as typed"].startswith("TimeoutError: took more than 0.3 s of the processor's time")

            read = {"boxes": ".node .title", "lines": "#tree path", "best": "#tree path.best", "count": ".node.kept b"}
            read |= {"files": "#files li", "diff": "#diff .plus", "failed": "#tests .failed", "folder": "#folder"}
            seen = await look(played, [["wait", "[data-state=kept]"]], {**read, "changed": "#changed"}, "sandbox-tree")
            assert [len(seen[name]) for name in ("boxes", "lines", "best")] == [16, 15, 2]
            assert (seen["count"], seen["failed"], seen["folder"], seen["changed"]) == (["9/9"], [], [str(folder)], [""])
            assert seen["files"][0] == "Csuggest.py changed" and "+    start = start.lower()" in seen["diff"]
            steps = [["wait", "[data-state=kept]"], ["click", '.node[data-vmid="10"]']]
            seen = await look(played, steps, {"files": "#files li", "failed": "#tests .failed small"})
            assert seen["files"][:2] == ["Dtext.txt deleted", "Awords.txt added"]
            assert "text.txt is gone" in seen["failed"]

    asyncio.run(main())


@pytest.mark.parametrize(("number", "when"), [("INT", "forked"), ("KILL", "forked"), ("TERM", "played again")])
def test_a_signal_ends_all_branches(number: str, when: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            keep = ("--keep", str(tmp_path / "kept"))
            await played.start([*START, "sandbox-tree", "--port", str(played.port), *SMALL, *keep])
            await answers(played)
            if when == "forked":
                async for state in states(played):
                    if len(state["nodes"]) > 1:
                        break
            else:
                assert (await kept(played))["kept"]["vmid"] == 7
                async with aiohttp.ClientSession() as client, client.post(f"{played.url}/do/again", json={}) as answer:
                    assert answer.status == 200
                async for state in states(played):
                    if state["kept"] and state["kept"]["vmid"] == 15:
                        break
            if number == "INT":
                os.killpg(played.process.pid, signal.SIGINT)
            else:
                played.process.send_signal(signal.Signals[f"SIG{number}"])
            await played.process.wait()
            if number == "KILL":  # it cannot remove its folder
                for folder in played.runtime.glob("gridcentric-demo-*"):
                    shutil.rmtree(folder)
            await played.nothing_left()

    asyncio.run(main())


def test_what_has_changed_in_a_vm(tmp_path: Path) -> None:
    """Said as `gc diff --json` says it."""
    before, now = tmp_path / "before", tmp_path / "now"
    for folder, texts in ((before, {"same": "1", "less": "1", "in/it": "1"}), (now, {"same": "1", "more": "1", "in/it": "2"})):
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    said = subprocess.check_output([sys.executable, str(DEMOS / "sandbox-tree" / "changed.py"), str(before), str(now)])
    expected = [("C", now / "in/it"), ("D", now / "less"), ("A", now / "more")]
    assert json.loads(said) == [{"kind": kind, "path": str(path)} for kind, path in expected]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """Here as where user namespaces are refused."""

    async def main() -> None:
        async with demo(tmp_path) as played:
            options = ["--port", str(played.port), *SMALL]
            await played.start([*START, "sandbox-tree", *options], GRIDCENTRIC_CLONE_MODE="plain")
            assert await played.process.wait() == 2
            said = "the session did not start: gc run: --tree needs user and pid namespaces"
            assert said in played.log.read_text()
            await played.nothing_left()

    asyncio.run(main())
