"""The servers that clients connect to: how they end; and that of HTTP, aiohttp's with limits for silent connections.

Know nothing of what is served. bindings-node/lib/autoscale/front.js is the twin of the one of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, Callable

from aiohttp import web
from aiohttp.http import HttpProcessingError

# aiohttp has no time limit for a connection's first header, and an hour for each further one: silent clients could stay.
HEAD_TIMEOUT_S = 15
# For handlers whose connections have been cut off. To aiohttp 0 means forever.
GRACE_S = 0.2
# How often the end looks at what is left. That long what has just been answered may take to leave, even without a limit.
LEFT_EVERY_S = 0.02


# A malformed request is the client's fault: it has been answered, and its traceback is not for anybody's log.
_log = logging.getLogger("gridcentric.autoscale")
_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))


def limited(most: int) -> int:
    """At most that many connections, and no more than there are descriptors for: each may need a second one, to a clone, and
    without descriptors no client could even get an error."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else min(most, max(1, soft // 2 - 32))


class Full(asyncio.Protocol):
    """A connection above the limit."""

    def connection_made(self, transport: Any) -> None:
        transport.abort()


class Front(ABC):
    carries: str  # what a connection is used for: "request"
    ending = False
    _waiting = _cut = False

    @property
    @abstractmethod
    def connections(self) -> int:
        """How many there are."""

    @property
    @abstractmethod
    def under_way(self) -> int:
        """How many of them are in use."""

    @abstractmethod
    def accept(self) -> asyncio.Protocol:
        """The protocol of a new connection. Connections above the limit are closed at once."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    async def end(self, limit: int, log: Callable[[str], Any], ends_wait: str = "") -> None:
        """Let what is under way end by itself, for `limit` ms; then close all connections. Others are closed now.

        ends_wait: what is said of how to cut it off.
        """
        self.ending = self._waiting = True
        self._close_unused()
        until = time.monotonic() + limit / 1000
        told = False
        while self.connections:
            await asyncio.sleep(LEFT_EVERY_S)
            if self._cut or time.monotonic() >= until:
                break
            if self.under_way and not told:
                log(f"{self._count()} may take up to {limit / 1000:g} s more{ends_wait}")
                told = True
        self._waiting = False
        if self.under_way:
            log(f"{self._count()} cut off")
        await self.close()

    def cut_off(self) -> bool:
        """What is under way at the end is waited for no longer. Whether it was waited for."""
        self._cut = True
        return self._waiting

    @abstractmethod
    def _close_unused(self) -> None:
        """Close the connections on which nothing is under way."""

    def _count(self) -> str:
        return f"{self.under_way} {self.carries}{'s' * (self.under_way > 1)} under way"


class _Request(web.BaseRequest):
    front: Front

    @property
    def keep_alive(self) -> bool:
        """Whether its connection is kept: an answer that begins in the end says `Connection: close`."""
        return super().keep_alive and not self.front.ending


class HttpFront(Front):
    carries = "request"

    def __init__(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], most: int) -> None:
        self._handle = handle
        self._most = limited(most)
        self._loop = asyncio.get_running_loop()
        self._silent: set[Any] = set()  # new connections that have not yet sent a request header
        self._answering: set[Any] = set()
        # With cancellation a client that has gone keeps no place in line and no connection to a clone.
        self._server = web.Server(
            self._request, request_factory=self._made, handler_cancellation=True, keepalive_timeout=HEAD_TIMEOUT_S, logger=_log
        )

    @property
    def connections(self) -> int:
        return len(self._server.connections)

    @property
    def under_way(self) -> int:
        return len(self._answering)

    def accept(self) -> asyncio.Protocol:
        if self.ending or len(self._server.connections) >= self._most:
            return Full()
        connection = self._server()
        self._silent.add(connection)
        self._loop.call_later(HEAD_TIMEOUT_S, self._give_up, connection)
        return connection

    async def close(self) -> None:
        for connection in self._server.connections:
            if connection.transport:
                connection.transport.abort()
        await self._server.shutdown(GRACE_S)

    def _close_unused(self) -> None:
        for connection in self._server.connections:
            if connection not in self._answering and connection.transport:
                connection.transport.close()  # when what has been answered is sent

    def _give_up(self, connection: Any) -> None:
        if connection in self._silent:
            self._silent.discard(connection)
            if connection.transport:
                connection.transport.abort()

    def _made(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        request = _Request(message, payload, protocol, writer, task, self._loop)
        request.front = self
        return request

    async def _request(self, request: web.BaseRequest) -> web.StreamResponse:
        self._silent.discard(request.protocol)
        self._answering.add(request.protocol)
        try:
            response = await self._handle(request)
        finally:
            self._answering.discard(request.protocol)
        if self.ending:
            response.force_close()  # also when its head has gone out before
        return response
