"""Producer and consumer, small: both workers are cloned, killed, and lose their broker, and each job is done once."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from demo_harness import DEMOS, Demo, demo
from playing import START, answers, look, states

sys.path.append(str(DEMOS / "producer-consumer"))

pytestmark = pytest.mark.skipif(
    not shutil.which("rabbitmqctl", path="/usr/sbin:/usr/bin"), reason="needs RabbitMQ: apt-get install rabbitmq-server"
)
SMALL = ("--rate", "10", "--length", "400")


def counted(played: Demo) -> list[int]:
    """Submitted, done, waiting, lost, done twice."""
    found = re.search(r"(\d+) jobs: (\d+) done, (\d+) waiting, (\d+) lost, (\d+) done twice", played.log.read_text())
    assert found, played.log.read_text()
    return [int(number) for number in found.groups()]


async def until(played: Demo, condition: Any) -> dict[str, Any]:
    async for state in states(played):
        if condition(state):
            return state
    raise AssertionError(played.log.read_text())


def workers(state: dict[str, Any]) -> list[str]:
    return [worker["name"] for worker in state["workers"]]


async def act(played: Demo, action: str, **given: Any) -> dict[str, Any]:
    async with aiohttp.ClientSession() as client, client.post(f"{played.url}/do/{action}", json=given) as answer:
        said: dict[str, Any] = await answer.json()
        return said


@pytest.mark.parametrize("form", ["handler", "classic"])
def test_no_job_is_lost_or_done_twice(form: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            options = ["--port", str(played.port), "--form", form, "--jobs", "40", *SMALL]
            await played.start([*START, "producer-consumer", *options])
            await answers(played)
            await until(played, lambda state: state["done"] >= 1)
            assert await act(played, "clone", count=3) == {}
            await until(
                played, lambda state: workers(state) == ["w0", "w1", "w2", "w3"] and all(w["done"] for w in state["workers"])
            )
            await until(played, lambda state: state["workers"][3]["job"])  # in the middle of it
            assert await act(played, "kill") == {"killed": "w3"}
            assert await act(played, "restart") == {}
            assert await act(played, "clone", count=1) == {}
            assert await played.process.wait() == 0, played.log.read_text()
            assert counted(played) == [40, 40, 0, 0, 0]
            assert re.search(r"to its first job, by clone: \d+ ms \(median of \d\)", played.log.read_text())
            await played.nothing_left()

    asyncio.run(main())


def test_the_page_and_the_rule(tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            paced = ["--rate", "8", "--length", "1000"]
            await played.start([*START, "producer-consumer", "--port", str(played.port), *paced])
            await answers(played)
            await until(played, lambda state: state["done"] >= 1)
            steps = [
                ["fill", "#count", "3"],
                ["click", "#clone"],
                ["wait", ".worker.clone:nth-child(4)"],
                ["click", "#process"],
            ]
            steps += [
                ["wait", ".worker.process small:last-child:not(:empty)"],
                ["fill", "#rule", "6"],
                ["click", "#setrule"],
                ["wait", ".worker.clone:nth-child(5)"],
            ]
            read = {"names": ".worker b", "firsts": "#firsts td:first-child", "times": "#firsts td.right", "wrong": "#wrong"}
            seen = await look(played, steps, {**read, "broker": "#broker"}, "producer-consumer")
            assert seen["names"][:5] == ["w0", "w1", "w2", "w3", "w4"] and seen["names"][-1] == "p1.0"
            assert (seen["wrong"], seen["broker"]) == ([""], ["running"])
            assert seen["firsts"] == ["a clone of the running worker", "a worker that was started", "booting a VM"]
            assert re.fullmatch(r"[\d.]+ m?s \(\d+\)", seen["times"][0]) and seen["times"][2] == "10.3 s"
            refused = (await act(played, "clone", count=100))["error"]
            assert re.fullmatch(r"100 more workers would be 1\d\d, expected at most 24", refused)
            assert await act(played, "nix") == {"error": "there is no action 'nix'"}
            assert await act(played, "clone") == {"error": "count is missing"}
            played.signal(signal.SIGTERM)
            await played.nothing_left()
            assert played.process.returncode == 128 + signal.SIGTERM
            submitted, done, waiting, lost, twice = counted(played)
            assert (lost, twice) == (0, 0) and done + waiting == submitted

    asyncio.run(main())


def test_a_lost_job_is_noticed(tmp_path: Path) -> None:
    """The site has numbered it, but it never came into the queue."""

    async def main() -> None:
        async with demo(tmp_path) as played:
            await played.start([*START, "producer-consumer", "--port", str(played.port), *SMALL])
            await answers(played)
            await until(played, lambda state: state["done"] >= 1)
            async with aiohttp.ClientSession() as client, client.post(f"{played.url}/jobs/give") as answer:
                assert answer.status == 200
            played.signal(signal.SIGTERM)
            await played.nothing_left()
            assert played.process.returncode == 1
            assert counted(played)[3:] == [1, 0]

    asyncio.run(main())


def test_a_slow_name_server(tmp_path: Path) -> None:
    """The broker waits for Erlang's: it would start another, which stays behind, if it did not find it."""

    async def main() -> None:
        async with demo(tmp_path) as played:
            slow = tmp_path / "bin" / "epmd"
            slow.parent.mkdir()
            slow.write_text(f'#!/bin/sh\nsleep 2\nexec {shutil.which("epmd")} "$@"\n')
            slow.chmod(0o755)
            path = f"{slow.parent}:{os.environ['PATH']}"
            await played.start([*START, "producer-consumer", "--port", str(played.port), "--jobs", "2", *SMALL], PATH=path)
            assert await played.process.wait() == 0, played.log.read_text()
            await played.nothing_left()

    asyncio.run(main())


def test_ctrl_c_while_the_broker_starts(tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            await played.start([*START, "producer-consumer", "--port", str(played.port), *SMALL])
            await answers(played)
            while not list(played.runtime.glob("*/rabbitmq/output")):
                await asyncio.sleep(0.01)
            os.killpg(played.process.pid, signal.SIGINT)
            async with asyncio.timeout(15):  # RabbitMQ is not waited for, which would take 20 s
                await played.nothing_left()
            assert played.process.returncode == 128 + signal.SIGINT

    asyncio.run(main())


def test_workers_are_shown_by_number() -> None:
    """In whatever order they took their first jobs."""
    from django.conf import settings

    if not settings.configured:
        settings.configure()
        import django

        django.setup()
    from jobs import Server, place

    came = ["w0", "w3", "p2.0", "w10", "p1.0", "w2"]
    assert [server.name for server in sorted([Server(name=name) for name in came], key=place)] == [
        *("w0", "w2", "w3", "w10"),
        *("p1.0", "p2.0"),
    ]
