"""Plain TCP: each new connection goes to a clone and stays there; its bytes are passed on both ways.

Back-pressure is passed on too (who does not read slows down who writes), and so is the end of either direction on its own
(half-close). What has been sent to a clone is never sent to a second one. Decides nothing about scaling.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from typing import Any, Callable, Optional

from gridcentric.autoscale.front import Front, Full, limited
from gridcentric.autoscale.policy import Clone, Refused, User
from gridcentric.autoscale.proxy import ATTEMPTS, PAUSE_S
from gridcentric.autoscale.upstream import CONNECT_TIMEOUT_S

# What a client has sent before it has a clone is kept up to this size; then nothing more is read from it.
EARLY_BYTES = 65536


class _Side(asyncio.Protocol):
    """One of the two connections. What comes before it has its other side is kept."""

    def __init__(self, moved: Callable[[int], None], over: Callable[[_Side], None]) -> None:
        self._moved, self._over = moved, over
        self.transport: Any = None
        self.ended = False  # its sender has no more to send
        self.lost = False
        self._other: Optional[_Side] = None
        self._early: list[bytes] = []
        self._early_bytes = 0

    def join(self, other: _Side) -> None:
        """From now on what comes on either goes to the other."""
        self._other, other._other = other, self
        self._pass_early_on()
        other._pass_early_on()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        if self._other:
            self._pass_on(data)
            return
        before, self._early_bytes = self._early_bytes, self._early_bytes + len(data)
        self._early.append(data)
        if before <= EARLY_BYTES < self._early_bytes:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.ended = True
        if self._other:
            self._pass_end_on()
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        if self._other and not self._other.lost:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other and not self._other.lost:
            self._other.transport.resume_reading()

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.lost = True
        if self._other and not self._other.lost:
            self._other.transport.abort() if error else self._other.transport.close()
        self._over(self)

    def _pass_early_on(self) -> None:
        self.transport.resume_reading()
        for data in self._early:
            self._pass_on(data)
        self._early.clear()
        if self.ended:
            self._pass_end_on()

    def _pass_on(self, data: bytes) -> None:
        assert self._other
        if not self._other.lost:
            self._moved(len(data))
            self._other.transport.write(data)

    def _pass_end_on(self) -> None:
        """When both directions have ended, both connections are closed, once what is left has been sent."""
        assert self._other
        if self._other.lost:
            return
        if self._other.ended:
            self.transport.close()
            self._other.transport.close()
        elif self._other.transport.can_write_eof():
            self._other.transport.write_eof()


class TcpFront(Front):
    """enter() -> a new connection, as a user; exit(user): it has ended; await place(user) -> its clone, or Refused; await
    lives(vmid): asked once the clone has been reached; await lost(): it could not be, what lives is to be looked up;
    answered(clone): bytes have come from it."""

    carries = "connection"

    def __init__(
        self,
        app: int,
        most: int,
        *,
        enter: Callable[[], User],
        exit: Callable[[User], None],
        place: Callable[[User], Awaitable[Clone]],
        lives: Callable[[int], Awaitable[bool]],
        lost: Callable[[], Awaitable[None]],
        answered: Callable[[Clone], None],
    ) -> None:
        self._app, self._most = app, limited(most)
        self._enter, self._exit, self._place = enter, exit, place
        self._lives, self._lost, self._answered = lives, lost, answered
        self._clients: dict[_Side, asyncio.Task[None]] = {}
        self._joined: dict[int, set[_Side]] = {}  # by vmid: the clients' sides
        self.received = self.sent = 0  # bytes: from clients, to clients
        self.accepted = self.refused = 0

    @property
    def connections(self) -> int:
        return len(self._clients)

    @property
    def under_way(self) -> int:
        return len(self._clients)

    def accept(self) -> asyncio.Protocol:
        if self.connections >= self._most:
            self.refused += 1
            return Full()
        self.accepted += 1
        client = _Side(self._count_received, self._gone)
        self._clients[client] = asyncio.ensure_future(self._serve(client))
        return client

    async def forget(self, vmid: int) -> None:
        """The clone is gone: so are the connections to it."""
        for client in self._joined.pop(vmid, ()):
            client.transport.abort()

    async def close(self) -> None:
        tasks = list(self._clients.values())
        for client in list(self._clients):
            if client.transport:
                client.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _close_unused(self) -> None:
        """All are in use."""

    async def _serve(self, client: _Side) -> None:
        user: Optional[User] = None
        try:
            user = self._enter()
            clone, theirs, over = await self._reach(user)
            if client.lost:
                theirs.transport.abort()
                return
            self._joined.setdefault(clone.vmid, set()).add(client)
            client.join(theirs)
            await over
        except Refused:
            self.refused += 1
        finally:
            if client.transport:
                client.transport.close()
            for joined in self._joined.values():
                joined.discard(client)
            if user:
                self._exit(user)
            self._clients.pop(client, None)

    async def _reach(self, user: User) -> tuple[Clone, _Side, asyncio.Future[None]]:
        """A connection to the user's clone, and what is done when it has ended. Raises Refused."""
        for attempt in range(1, ATTEMPTS + 1):
            clone = await self._place(user)
            try:
                return (clone, *await self._connect(clone))
            except (OSError, asyncio.TimeoutError):
                await self._lost()
                if attempt < ATTEMPTS:
                    await asyncio.sleep(PAUSE_S * attempt)
        raise Refused(f"{ATTEMPTS} clones could not be reached")

    async def _connect(self, clone: Clone) -> tuple[_Side, asyncio.Future[None]]:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        connecting = loop.create_connection(
            lambda: _Side(self._counter(clone), lambda _: None if over.done() else over.set_result(None)), clone.ip, self._app
        )
        _, theirs = await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
        try:
            # An address whose clone has ended may be answered by somebody else: the host knows.
            if not await self._lives(clone.vmid):
                raise ConnectionError(f"clone {clone.vmid} has ended")
        except BaseException:
            theirs.transport.abort()
            raise
        return theirs, over

    def _gone(self, client: _Side) -> None:
        """A client that goes before it has a clone gives up its place in line."""
        task = self._clients.get(client)
        if task and not any(client in joined for joined in self._joined.values()):
            task.cancel()

    def _count_received(self, size: int) -> None:
        self.received += size

    def _counter(self, clone: Clone) -> Callable[[int], None]:
        def moved(size: int) -> None:
            self.sent += size
            self._answered(clone)

        return moved
