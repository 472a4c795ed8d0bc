"""The clones of a program that is another process, as its host knows them: order them, list them, end them.

All requests to the host are made here. Knows nothing of users.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Optional, Union

import aiohttp

from gridcentric import Error, NoSuchDomain
from gridcentric.autoscale.family import CONTROL_TIMEOUT_S, Family
from gridcentric.autoscale.policy import Clone
from gridcentric.results import Domain, TicketInfo
from gridcentric.scale.host import Host

MASTER = 0


class OrderedFamily(Family):
    """app: the program's port; health() -> the path of the app that says whether it works, or None."""

    def __init__(self, app: int, health: Callable[[], Optional[str]]) -> None:
        super().__init__()
        self._app, self._health = app, health
        self._pid = 0
        self._master: Optional[Host] = None
        self._observer: Optional[Host] = None
        self.pids: dict[int, int] = {}  # vmid by pid, of those that live and those that lived at the look before
        self._living: dict[int, int] = {}

    async def attach(self, path: str, pid: int) -> None:
        """Speak for the domain of this process from now on."""
        self._master = await Host.connect(path, f"ask pid={pid}")
        self._observer = await Host.connect(path, "observe")
        self._pid = pid
        await self.look()

    @property
    def attached(self) -> bool:
        return self._observer is not None

    async def host_ended(self) -> None:
        await self._host.ended()

    async def close(self) -> None:
        for host in (self._master, self._observer):
            if host:
                await host.close()

    async def look(self) -> dict[int, int]:
        """The pids of the living domains, and their vmids."""
        assert self._observer
        *rows, _ = await self._observer.call("list_all")
        # FAMILY VMID PARENT IP TICKET STATE PID AGE_MS NAME
        living = {int(row[6]): int(row[1]) for row in rows if row[0] == self._host.family and row[6] != "-"}
        if living != self._living:
            self.pids, self._living = {**self._living, **living}, living
        return living

    def about_master(self) -> dict[str, Any]:
        return {"vmid": MASTER, "ip": self._host.ip, "pid": self._pid, "language": "gc scale"}

    async def grow(self, count: int) -> int:
        ((ticket,),) = await self._host.call("request_ticket", count, 1, 1, 0)
        self.tickets.add(ticket)
        try:
            await self._host.call("clone_of", MASTER, ticket)
        except Error:
            self.tickets.discard(ticket)
            with contextlib.suppress(Error):  # the first error is the one that matters
                await self._host.call("release_ticket", ticket)
            raise
        await self.look()
        return MASTER

    async def answers(self, clone: Clone) -> bool:
        path = self._health()
        if path is None:
            return True  # the host says when it has ended
        timeout = aiohttp.ClientTimeout(total=CONTROL_TIMEOUT_S)
        url = f"http://{clone.ip}:{self._app}{path}"
        async with aiohttp.request("GET", url, headers={"Connection": "close"}, timeout=timeout) as response:
            return response.status < 500

    async def drain(self, clone: Union[Clone, Domain]) -> None:
        """The program cannot be asked to join, so it is ended."""
        await self.kill(clone.vmid)

    async def kill(self, vmid: int) -> None:
        with contextlib.suppress(NoSuchDomain):  # it has ended in the meantime
            await self._host.call("kill", vmid)

    async def ledger(self) -> list[TicketInfo]:
        """Without those that are over: the host forgets them."""
        *rows, _ = await self._host.call("list_tickets")
        for row in rows:
            if row[1] == "closed" and row[0] in self.tickets:
                self.tickets.discard(row[0])
                await self._host.call("forget", row[0])
        rows = [row for row in rows if row[1] != "closed"]
        return [TicketInfo(row[0], row[1], *map(int, row[2:5])) for row in rows]

    async def _domains(self) -> list[Domain]:
        *rows, _ = await self._host.call("list_domains")
        return [Domain(int(row[0]), None if row[1] == "-" else int(row[1]), *row[2:5]) for row in rows]

    @property
    def _host(self) -> Host:
        assert self._master, "the family is asked only once the program runs"
        return self._master
