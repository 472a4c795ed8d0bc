"""How often Ray is asked for a ticket's group, with a Ray that takes its time: what is asked for anew loses the place that it
had, and what was asked for before is not free at once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

pytest.importorskip("ray")

from gridcentric.hypervisors.ray import tickets
from gridcentric.hypervisors.ray.room import Room, Size

VM = Size(1, 64 << 20)


class SlowRay:
    """Two computers with 4 CPUs each; groups are granted when they are let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []  # how many bundles, each time
        self.removed = 0
        self.grants = threading.Event()
        for name in ("placement_group", "remove_placement_group", "_places"):
            monkeypatch.setattr(tickets, name, getattr(self, name))
        monkeypatch.setattr(tickets, "_reported", lambda: {"a": Size(4, 1 << 30), "b": Size(4, 1 << 30)})
        monkeypatch.setattr(tickets, "alive", dict)
        monkeypatch.setattr(tickets, "AT_ONCE_S", 0.05)
        monkeypatch.setattr(tickets, "ROUND_S", 0.01)
        monkeypatch.setattr(Room, "most", lambda *_: 8)

    def placement_group(self, bundles: list[Any], strategy: str) -> Any:
        self.asked.append(len(bundles))
        return self

    def wait(self, seconds: float) -> bool:
        return self.grants.wait(seconds)

    def remove_placement_group(self, group: Any) -> None:
        self.removed += 1

    def _places(self, held: Any) -> list[str]:
        return ["a"] * held.many


def test_a_group_is_waited_for_and_not_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SlowRay(monkeypatch)
    granted = asyncio.Event()

    async def play() -> None:
        waits = tickets.Tickets("PACK", granted.set)
        assert not await waits.reserve("ticket", VM, 4, 4)
        ray.grants.set()
        await granted.wait()
        assert await waits.reserve("ticket", VM, 4, 4) == ["a"] * 4
        assert (ray.asked, ray.removed) == ([4], 0)
        waits.close()

    asyncio.run(play())


def test_only_the_least_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SlowRay(monkeypatch)

    async def play() -> None:
        waits = tickets.Tickets("PACK", lambda: None)
        assert not await waits.reserve("ticket", VM, 2, 8)
        assert (ray.asked, ray.removed) == ([8, 2], 1)
        waits.close()

    asyncio.run(play())
