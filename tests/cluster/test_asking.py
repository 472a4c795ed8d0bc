"""How often Ray is asked for a ticket's group, with a Ray that takes its time: what is asked for anew loses the place that it
had, and what was asked for before is not free at once."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray")

from gridcentric.hypervisors.ray import tickets
from gridcentric.hypervisors.ray.room import Size

VM = Size(1, 64 << 20)
HANG_GUARD_S = 240
ALL = {"a": Size(4, 1 << 30), "b": Size(4, 1 << 30)}
NOTHING = {"a": Size(0, 0), "b": Size(0, 0)}


class SlowRay:
    """Two computers with 4 CPUs each. Groups are granted when they are let, but what is asked for before its room is reported
    never is: Ray tries again after a second, which is longer than a test needs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []  # how many bundles, each time
        self.removed = 0
        self.grants = threading.Event()
        self.free = [ALL]  # what it reports, one after the other; the last stays
        nodes = {name: {"Resources": {"CPU": size.cpus, "memory": size.memory}} for name, size in ALL.items()}
        for name in ("placement_group", "remove_placement_group", "_places", "_reported"):
            monkeypatch.setattr(tickets, name, getattr(self, name))
        monkeypatch.setattr(tickets, "alive", lambda: nodes)
        monkeypatch.setattr(tickets, "AT_ONCE_S", 0.05)
        monkeypatch.setattr(tickets, "ROUND_S", 0.01)
        monkeypatch.setattr(tickets, "RETURN_S", HANG_GUARD_S)

    def placement_group(self, bundles: list[Any], strategy: str) -> Any:
        self.asked.append(len(bundles))
        has_room = threading.Event() if self.free[0] is NOTHING else self.grants
        return SimpleNamespace(wait=has_room.wait)

    def remove_placement_group(self, group: Any) -> None:
        self.removed += 1

    def _reported(self) -> dict[str, Size]:
        return self.free.pop(0) if len(self.free) > 1 else self.free[0]

    def _places(self, held: Any) -> list[str]:
        return ["a", "b"] * (held.many // 2)


def test_a_group_is_waited_for_and_not_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SlowRay(monkeypatch)
    granted = asyncio.Event()

    async def play() -> None:
        waits = tickets.Tickets("PACK", granted.set)
        assert not await waits.reserve("ticket", VM, 4, 4)
        ray.grants.set()
        await granted.wait()
        assert await waits.reserve("ticket", VM, 4, 4) == ["a", "b"] * 2
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


def test_what_was_released_is_asked_for_when_ray_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SlowRay(monkeypatch)
    ray.grants.set()

    async def play() -> None:
        waits = tickets.Tickets("PACK", lambda: None)
        assert len(await waits.reserve("one", VM, 8, 8)) == 8
        ray.free = [NOTHING, NOTHING, NOTHING, ALL]
        waits.release("one")
        assert len(await waits.reserve("two", VM, 8, 8)) == 8
        assert (ray.asked, ray.removed) == ([8, 8], 1)
        waits.close()

    asyncio.run(play())


def test_what_is_pending_gets_what_was_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its place until it has another."""
    ray = SlowRay(monkeypatch)
    ray.grants.set()
    granted = asyncio.Event()

    async def play() -> None:
        waits = tickets.Tickets("PACK", granted.set)
        assert len(await waits.reserve("one", VM, 8, 8)) == 8
        ray.free = [NOTHING]
        assert not await waits.reserve("two", VM, 4, 8)
        ray.free = [NOTHING, NOTHING, NOTHING, ALL]
        waits.release("one")
        await asyncio.wait_for(granted.wait(), HANG_GUARD_S)
        assert len(await waits.reserve("two", VM, 4, 8)) == 4
        assert (ray.asked, ray.removed) == ([8, 4, 4], 2)
        waits.close()
        assert ray.removed == 3

    asyncio.run(play())
