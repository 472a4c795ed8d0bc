"""The hit counter, small: who hits, what the load test reports, what the page shows and what its buttons do."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections import deque
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from demo_harness import DEMOS, Demo, demo
from playing import START, look, playing, states

sys.path.append(str(DEMOS / "hit-counter"))
import counting

SMALL = ("--clones", "3", "--shells", "2", "--rate", "10", "--target", "40", "--seconds", "1")
REPORTS = ["clones", *(["hey"] if shutil.which("hey") else [])]

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: apt-get install curl")


async def until(played: Demo, condition: Any) -> dict[str, Any]:
    async for state in states(played):
        if condition(state):
            return state
    raise AssertionError("the demo has ended")


def hits(state: dict[str, Any]) -> dict[tuple[str, int], int]:
    return {(client["form"], client["vmid"]): client["hits"] for client in state["clients"]}


@needs_curl
def test_every_clone_hits_and_a_load_test_is_reported(tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            await played.start([*START, "hit-counter", "--port", str(played.port), *SMALL, "--once"])
            assert await played.process.wait() == 0, played.log.read_text()
            text = played.log.read_text()
            assert "load test: 40 hits a second for 1 s over 10 connections" in text
            times = r"\s+[\d.]+ ms\s+[\d.]+ ms\s+[\d.]+ ms\s+0$"
            reported = re.findall(rf"^(\w+)\s+(\d+)\s+[\d.]+{times}", text, re.M)
            assert [name for name, _ in reported] == REPORTS
            assert reported[0] == ("clones", "40")
            await played.nothing_left()

    asyncio.run(main())


@needs_curl
def test_the_page(tmp_path: Path) -> None:
    async def main() -> None:
        small = ("--target", "200") if os.environ.get("GC_SCREENSHOTS") else SMALL
        async with playing("hit-counter", tmp_path, *small) as played:
            all_hit = {("python", 1), ("python", 2), ("python", 3), ("shell", 0), ("shell", 1), ("shell", 2)}
            # Of the shell's master two hits are from before the clone.
            await until(played, lambda state: hits(state).keys() >= all_hit and min(hits(state).values()) >= 3)
            steps = [["wait", ".shell .tile"], ["click", "#start"], ["wait", f"#load tr.{REPORTS[-1]}"]]
            read = {"python": ".python .tile small:first-child", "shell": ".shell .tile small:first-child", "hits": ".tile b"}
            seen = await look(played, steps, {**read, "load": "#load td:first-child", "wrong": "#wrong"}, "hit-counter")
            if small is not SMALL:
                return
            assert seen["python"] == ["clone 1", "clone 2", "clone 3"]
            assert seen["shell"] == ["master", "clone 1", "clone 2"]
            assert all(int(text) >= 3 for text in seen["hits"])
            assert (seen["load"], seen["wrong"]) == (["10 clones", *REPORTS[1:]], [""])

            async def act(action: str, **given: Any) -> tuple[int, str]:
                async with client.post(f"{played.url}/do/{action}", json=given) as answer:
                    return answer.status, (await answer.json()).get("error", "")

            async with aiohttp.ClientSession() as client:
                assert await act("clone", form="python", clones=5) == (200, "")
                await until(
                    played,
                    lambda state: [key for key in hits(state) if key[0] == "python"] == [("python", n) for n in range(1, 6)],
                )
                assert await act("stop", form="shell") == (200, "")
                assert await act("stop", form="python") == (200, "")
                left = await until(played, lambda state: not state["families"])
                assert left["total"] > 0
                assert await act("clone", form="python", clones=61) == (
                    400,
                    "61 clones of 'python', expected 1 to 60 of python or shell",
                )
                assert await act("nix") == (400, "there is no action 'nix'")
                for query, status in (
                    ("form=x", 400),
                    ("vmid=x", 400),
                    ("ms=x", 400),
                    ("form=other&vmid=7&ms=1.5", 200),
                    ("", 200),
                ):
                    async with client.get(f"{played.url}/hit?{query}") as answer:
                        assert answer.status == status, query
                async with client.get(played.url, headers={"Host": "evil.example"}) as answer:
                    assert answer.status == 400
                async with client.post(f"{played.url}/do/load", data="{}") as answer:
                    assert answer.status == 415

    asyncio.run(main())


def test_percentiles_and_rates() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [counting.percentile(values, percent) for percent in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert [counting.percentile([3.0], percent) for percent in (1, 50, 99)] == [3, 3, 3]
    assert counting.rate(deque([0.0, 0.5, 1.0, 1.5]), 1.5) == 2
    assert counting.rate(deque([0.0, 0.5, 1.0, 1.5]), 4.0) == 0  # it has stopped
    assert counting.rate(deque([1.0]), 1.0) == 0


def test_hits_are_counted_by_client() -> None:
    counter = counting.Counter()
    for _ in range(3):
        counter.hit("python", 2, 1.5)
    assert counter.hit("shell", 1) == 4
    view = counter.view()
    assert view["total"] == 4
    assert [(client["form"], client["vmid"], client["hits"], client["ms"]) for client in view["clients"]] == [
        ("python", 2, 3, 1.5),
        ("shell", 1, 1, None),
    ]
    counter.forget("python")
    view = counter.view()
    assert (view["total"], [client["form"] for client in view["clients"]]) == (4, ["shell"])
