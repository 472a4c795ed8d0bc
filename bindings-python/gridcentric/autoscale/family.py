"""The clones that autoscale made, as the host knows them: make, list, drain, end.

Family is what the rest of autoscale knows; OwnFamily is that of this process, which clones itself. gridcentric.scale has one of
another process. All requests to the host are made here. Knows nothing of users, nor of HTTP requests other than its own to the
clones' control port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from abc import ABC, abstractmethod
from typing import Any, Optional, Union

import aiohttp

from gridcentric import Error, NoSuchDomain, aio, guest
from gridcentric.autoscale.clone_side import CONTROL_PATH, TOKEN_HEADER
from gridcentric.autoscale.policy import Clone
from gridcentric.results import Domain, TicketInfo

CONTROL_TIMEOUT_S = 2.0
END_GRACE_S = 2.0  # clones that were drained and still live are killed


class Family(ABC):
    token = ""  # of the requests to the clones' control port

    def __init__(self) -> None:
        self.tickets: set[str] = set()  # those whose clones are ours; the program may have other clones
        self._running: Optional[asyncio.Task[list[Domain]]] = None
        self._next: Optional[asyncio.Task[list[Domain]]] = None

    def is_clone(self) -> bool:
        """Whether this process is a clone. Cheap enough for every request."""
        return False

    async def living(self) -> list[Domain]:
        """The living clones. Not those in the making: at their addresses the master's app may still answer.

        As of a time after this call: a caller that has just connected to a clone's address learns whether the clone was
        alive. Simultaneous calls share one listing.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._running))
        # So that cancelling one caller does not cancel the answer for the others.
        return await asyncio.shield(self._next)

    async def _after(self, running: Optional[asyncio.Task[list[Domain]]]) -> list[Domain]:
        if running:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        return [d for d in await self._domains() if d.ticket in self.tickets and d.state == "running"]

    async def lives(self, vmid: int) -> bool:
        """Is it there to be sent something? In a clone of this process nobody is: the requests are the master's to send."""
        if self.is_clone():
            return False
        return any(domain.vmid == vmid for domain in await self.living())

    @abstractmethod
    def about_master(self) -> dict[str, Any]:
        """What the dashboard shows of it: vmid, ip, pid, language."""

    @abstractmethod
    async def grow(self, count: int) -> int:
        """Make as many clones as there is room for, at most count. Returns the vmid: 0 outside the clones.

        Raises the guest library's error, after giving the ticket back.
        """

    @abstractmethod
    async def answers(self, clone: Clone) -> bool:
        """Whether the clone does its work. What it raises means that it does not."""

    @abstractmethod
    async def drain(self, clone: Union[Clone, Domain]) -> None:
        """See to it that a clone ends, soon."""

    @abstractmethod
    async def kill(self, vmid: int) -> None:
        """End a clone; nothing if it has ended already."""

    async def end_all(self) -> None:
        """Done when no clone is left."""
        clones = await self.living()
        drained = await asyncio.gather(*(self.drain(clone) for clone in clones), return_exceptions=True)
        await asyncio.gather(*(self.kill(clone.vmid) for clone, error in zip(clones, drained) if error))
        until = time.monotonic() + END_GRACE_S
        while (left := await self.living()) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await asyncio.gather(*(self.kill(clone.vmid) for clone in left))

    @abstractmethod
    async def ledger(self) -> list[TicketInfo]:
        """The family's tickets."""

    @abstractmethod
    async def _domains(self) -> list[Domain]: ...


class OwnFamily(Family):
    def __init__(self, listen_port: int) -> None:
        super().__init__()
        self.listen_port = listen_port
        self.token = secrets.token_hex(16)  # known to the clones, which inherit this memory

    def is_clone(self) -> bool:
        """Read from memory."""
        return guest.vmid() > 0

    def about_master(self) -> dict[str, Any]:
        return {"vmid": 0, "ip": guest.my_ip(), "pid": os.getpid(), "language": "Python"}

    async def grow(self, count: int) -> int:
        ticket = await aio.request_ticket(count, 1, 1, 0)
        self.tickets.add(ticket)
        try:
            return await aio.clone(ticket)
        except Error:
            self.tickets.discard(ticket)
            with contextlib.suppress(Error):  # the first error is the one that matters
                await aio.release_ticket(ticket)
            raise

    async def answers(self, clone: Clone) -> bool:
        """With its vmid, from its event loop."""
        return bool((await self._control("GET", clone.ip, "health")).get("vmid") == clone.vmid)

    async def drain(self, clone: Union[Clone, Domain]) -> None:
        """By join. It ends a little later."""
        await self._control("POST", clone.ip, "join")

    async def kill(self, vmid: int) -> None:
        with contextlib.suppress(NoSuchDomain):  # it has ended in the meantime
            await aio.kill(vmid)

    async def ledger(self) -> list[TicketInfo]:
        return await aio.list_tickets()

    async def _domains(self) -> list[Domain]:
        return await aio.list_domains()

    async def _control(self, method: str, ip: str, what: str) -> dict[str, Any]:
        if self.is_clone():
            raise aiohttp.ClientConnectionError("this is a clone: its master says what becomes of others")
        timeout = aiohttp.ClientTimeout(total=CONTROL_TIMEOUT_S)
        headers = {TOKEN_HEADER: self.token, "Connection": "close"}
        url = f"http://{ip}:{self.listen_port}{CONTROL_PATH}{what}"
        async with aiohttp.request(method, url, headers=headers, timeout=timeout, raise_for_status=True) as response:
            answer = await response.json(content_type=None)
            return answer if isinstance(answer, dict) else {}
