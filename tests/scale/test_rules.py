"""The rules of scaling, as data: cases/*.yaml. Pure: no host, no clock.

The steps of a case:
  clones    the living clones, from now on
  load      what is measured; then `plan` is what the rules say: `request` (clones to make), `begun`, `kept`, `over` (vmids that
            begin to be drained, that serve again, that are ended)
  enter     new connections; name: requests of users with that name; `placed` is where each goes, null if it has to wait
  leave     connections end
  advance   the clock, in ms
  minimum   the schedule's
  settings  other settings, from now on
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from gridcentric.scale.rules import Load, Rules
from gridcentric.scale.settings import read_settings

BASE = {"command": ["program"], "listen": 8080, "app": 8081}
CASES = [
    pytest.param(case, id=f"{path.stem}-{case['name']}")
    for path in sorted((Path(__file__).parent / "cases").glob("*.yaml"))
    for case in yaml.safe_load(path.read_text())
]


class Player:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.given = {**BASE, **settings}
        self.rules = Rules(read_settings(self.given, {}))
        self.now = 0.0
        self.users: dict[str, Any] = {}

    def play(self, step: dict[str, Any]) -> None:
        rules = self.rules
        self.now += step.get("advance", 0)
        rules.minimum = step.get("minimum", rules.minimum)
        if "settings" in step:
            self.given |= step["settings"]
            rules.settings = read_settings(self.given, {})
            rules.options = rules.settings.options()
        if "clones" in step:
            rules.observe([SimpleNamespace(vmid=n, ip=f"127.77.0.{n}") for n in step["clones"]], self.now)
        for name in step.get("leave", ()):
            rules.leave(self.users.pop(name), self.now)
        for kind in ("enter", "name"):
            for name in step.get(kind, ()):
                user = rules.enter(None, name if kind == "name" else None, self.now)
                self.users[name] = user
                clone = rules.place(user, self.now)
                assert (clone.vmid if clone else None) == step["placed"][name], name
        if "load" in step:
            rules.load = Load(**step["load"])
            plan = rules.plan(self.now)
            said = {"request": plan.request, "begun": plan.begun, "kept": plan.kept, "over": plan.drain}
            assert {name: value for name, value in said.items() if value} == step["plan"]


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    player = Player(case.get("settings", {}))
    for number, step in enumerate(case["steps"], 1):
        unknown = set(step) - {"clones", "load", "plan", "enter", "name", "placed", "leave", "advance", "minimum", "settings"}
        assert not unknown, (number, unknown)
        try:
            player.play(step)
        except AssertionError as error:
            raise AssertionError(f"step {number}, {step}: {error}") from error


def test_a_connection_leaves_nothing_behind() -> None:
    player = Player({"protocol": "tcp", "per_clone": 1})
    player.play({"clones": [1]})
    for _ in range(10):
        player.play({"enter": ["a"], "placed": {"a": 1}})
        player.play({"leave": ["a"]})
    assert (player.rules.active, player.rules.users, player.rules.strangers) == (0, {}, {})
    assert player.rules.clones[1].users == 0
