"""Tickets on the cluster at argv[1], without VMs: prints how many groups Ray has pending while a request waits and after it has
given up, and the computers of one that is asked for after that."""

from __future__ import annotations

import asyncio
import json
import sys

from ray.util.placement_group import placement_group_table

from gridcentric.hypervisors.ray.host import connected
from gridcentric.hypervisors.ray.room import Size
from gridcentric.hypervisors.ray.tickets import Tickets

SIZE = Size(1, 64 << 20)


def pending() -> int:
    return sum(group["state"] == "PENDING" for group in placement_group_table().values())


async def main() -> None:
    tickets = Tickets("PACK", lambda: None)
    all_ = await tickets.reserve("all", SIZE, 16, 16)
    assert not await tickets.reserve("waits", SIZE, 4, 4)
    waiting = pending()
    tickets.release("waits")
    given_up = pending()
    asked = asyncio.create_task(tickets.reserve("cut short", SIZE, 4, 4))
    await asyncio.sleep(0.1)
    asked.cancel()  # as the driver does whose asker has gone, and then releases
    tickets.release("cut short")
    await asyncio.wait([asked])
    cut_short = pending()
    tickets.release("all")
    while not (after := await tickets.reserve("after", SIZE, 4, 4)):
        await asyncio.sleep(0.05)
    tickets.close()
    print(json.dumps([len(all_), waiting, given_up, cut_short, len(after)]))


with connected(sys.argv[1], "PACK"):
    asyncio.run(main())
