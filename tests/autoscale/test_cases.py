"""The scaling cases of cases/*.yaml, for both languages, on the fake hypervisor with stub servers for clones.

The steps of a case:
  user, users  a request of each, one after the other; `is` gives the outcome of each: `clone 1`, `held`, `open` (a clone has it
               and has not answered), `any` of these, or an error's status and text, with * as a wildcard; `refused`: nobody
               listens; `cut off`: the connection ended without an answer.
               `path` and `post` (a body) of the request
  tick         a round of the autoscaler, and what must hold after it: existing `clones`, `cloned` in this round (how many in
               each operation), `ended`, `drained`, `failed` events, `logged` lines of failure, active `users`, `load` (users
               of each clone), `held`, `tickets` besides the master's, `answered` (the answers to held requests)
  until        rounds until this holds: `clones`, `killed` so far, `sick` now
  settled      waits until this many users are active
  advance      the program's clock, in ms
  end, deaf    a clone ends; these clones' event loops hang (from now on exactly these)
  joined       these clones have been asked to join, and (unless deaf) have ended
  fault        a fault of the fake hypervisor, see docs/protocol.md
  release      /slow answers; vanish: a user disconnects; bodies: the bodies sent to the clones so far; kill_host
  close        close() is called, signal: the program gets it; `said` waits for a line of the log
  closed       close() has come to its end, ended: so has the program; `said` as before
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Optional

import aiohttp
import pytest
import yaml
from autoscale_harness import HANG_GUARD_S, Program, User, World, running

CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted((Path(__file__).parent / "cases").glob("*.yaml"))
    for case in yaml.safe_load(path.read_text())
]


async def outcome(asked: Awaitable[str]) -> str:
    try:
        return await asked
    except aiohttp.ClientConnectorError:
        return "refused"
    except aiohttp.ClientConnectionError:
        return "cut off"


class Play:
    def __init__(self, world: World, program: Program) -> None:
        self.world, self.program = world, program
        self.users: dict[str, User] = {}

    def user(self, name: str) -> User:
        return self.users.setdefault(name, User(self.world))

    async def step(self, step: dict[str, Any]) -> None:
        words = {**step}
        expected = {key: words.pop(key) for key in ("is", "path", "post", "answered", "said") if key in words}
        ((what, value),) = words.items()
        await getattr(self, f"do_{what}")(value, **{("expected" if k == "is" else k): v for k, v in expected.items()})

    async def do_user(self, name: str, expected: str, path: str = "/", post: str = "") -> None:
        user = self.user(name)
        assert user.open is None, f"{name} has a request open"
        held = (await self.program.do("state"))["held"]
        user.open = asyncio.ensure_future(outcome(user.get(path, method="POST" if post else "GET", data=post or None)))
        state = None
        impatient = not expected.startswith("503 no clone came within")
        while not user.open.done():
            state = await self.program.do("state")
            placed = any(clone["users"] for clone in state["clones"])
            if (impatient and state["held"] > held) or (expected == "open" and placed):
                break
        got = "open" if expected == "open" else "held"
        if user.open.done():
            got, user.open = user.open.result(), None
        assert expected == "any" or fnmatchcase(got, expected), f"{name} got {got!r}, expected {expected!r}; {state}"

    async def do_users(self, names: list[str], expected: str, path: str = "/") -> None:
        for name in names:
            await self.do_user(name, expected, path)

    async def do_settled(self, users: int) -> None:
        while (await self.program.do("state"))["users"] != users:
            await asyncio.sleep(0.002)

    async def do_tick(self, expected: dict[str, Any]) -> None:
        self.program.events.clear()
        self.program.log.clear()
        state = await self.program.do("tick")
        await self.answers(expected.pop("answered", {}))
        events = self.program.events
        got = {
            "clones": [clone["vmid"] for clone in state["clones"]],
            "users": state["users"],
            "held": state["held"],
            "load": {clone["vmid"]: clone["users"] for clone in state["clones"]},
            "tickets": [t["status"] for t in state["tickets"][1:] if t["status"] != "closed"],
            "cloned": [len(event["vmids"]) for event in events if event["kind"] == "cloned"],
            "ended": [vmid for event in events if event["kind"] == "ended" for vmid in event["vmids"]],
            "drained": [vmid for event in events if event["kind"] == "drain" for vmid in event["vmids"]],
            "failed": len([event for event in events if event["kind"] == "failed"]),
            "logged": len([line for line in self.program.log if "no clone could be made" in line]),
        }
        assert {key: got[key] for key in expected} == expected, f"{got} {self.program.log}"

    async def answers(self, answered: dict[str, str]) -> None:
        for name, text in answered.items():
            user = self.user(name)
            assert user.open, f"{name} has no request open"
            got = await user.open
            user.open = None
            assert fnmatchcase(got, text), f"{name} got {got!r}, expected {text!r}"
        if not (await self.program.do("state"))["held"]:
            for user in self.users.values():  # released requests have been answered
                if user.open and user.path != "/slow":
                    await user.open
                    user.open = None

    async def do_until(self, expected: dict[str, Any]) -> None:
        while True:
            state = await self.program.do("tick")
            got = {
                "clones": [clone["vmid"] for clone in state["clones"]],
                "sick": [clone["vmid"] for clone in state["clones"] if not clone["healthy"]],
                "killed": [v for event in self.program.events if event["kind"] == "killed" for v in event["vmids"]],
            }
            if {key: got[key] for key in expected} == expected:
                return

    async def do_advance(self, ms: int) -> None:
        await self.program.do("advance", ms=ms)

    async def do_end(self, vmid: int) -> None:
        await self.world.end(vmid)

    async def do_deaf(self, vmids: list[int]) -> None:
        self.world.deaf = set(vmids)

    async def do_joined(self, vmids: list[int]) -> None:
        while self.world.joined != vmids:
            await asyncio.sleep(0.002)
        while {int(domain[1]) for domain in await self.world.domains()} & set(vmids) - self.world.deaf:
            await asyncio.sleep(0.002)

    async def do_fault(self, text: str) -> None:
        await self.world.control.ask(f"fault {text}")

    async def do_release(self, _: bool, answered: dict[str, str]) -> None:
        self.world.release.set()
        await self.answers(answered)

    async def do_close(self, _: bool, said: str = "", answered: Optional[dict[str, str]] = None) -> None:
        await self.program.do("start_close")
        await self.ending(said, answered)

    async def do_signal(self, name: str, said: str = "", answered: Optional[dict[str, str]] = None) -> None:
        self.program.signal(signal.Signals[name])
        await self.ending(said, answered)

    async def do_closed(self, _: bool, said: str = "") -> None:
        while not (await self.program.do("state"))["closed"]:
            await asyncio.sleep(0.002)
        await self.ending(said)

    async def do_ended(self, _: bool) -> None:
        await self.program.process.wait()

    async def ending(self, said: str, answered: Optional[dict[str, str]] = None) -> None:
        if said:
            await self.program.said(said)
        for name, text in (answered or {}).items():
            user = self.user(name)
            assert user.open
            got, user.open = await user.open, None
            assert fnmatchcase(got, text), f"{name} got {got!r}, expected {text!r}"

    async def do_vanish(self, name: str) -> None:
        user = self.user(name)
        assert user.open
        user.open.cancel()
        user.open = None
        while (await self.program.do("state"))["held"]:
            await asyncio.sleep(0.002)

    async def do_bodies(self, expected: list[list[Any]]) -> None:
        assert [[vmid, body.decode()] for vmid, body in self.world.bodies] == expected

    async def do_kill_host(self, _: bool) -> None:
        await self.world.kill_host()

    async def close(self) -> None:
        for user in self.users.values():
            if user.open:
                user.open.cancel()
            await user.session.close()


async def play(case: dict[str, Any], language: str, folder: Path) -> None:
    options, cpus, chances = case.get("options", {}), case.get("cpus", 64), case.get("chances", [])
    async with asyncio.timeout(HANG_GUARD_S), running(language, folder, options, cpus, chances) as (world, program):
        played = Play(world, program)
        try:
            for number, step in enumerate(case["steps"], 1):
                try:
                    await played.step(step)
                except AssertionError as error:
                    raise AssertionError(f"step {number} {step}: {error}") from error
        finally:
            await played.close()


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any], language: str, tmp_path: Path) -> None:
    asyncio.run(play(case, language, tmp_path))


def test_the_runner_can_fail(language: str, tmp_path: Path) -> None:
    case = {"steps": [{"user": "a", "is": "held"}, {"tick": {"clones": [2]}}]}
    with pytest.raises(AssertionError, match=r"step 2 .*'clones': \[1\]"):
        asyncio.run(play(case, language, tmp_path))
