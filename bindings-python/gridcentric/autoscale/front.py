"""The server that clients connect to: aiohttp's, with limits for silent connections.

Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Awaitable
from typing import Any, Callable

from aiohttp import web
from aiohttp.http import HttpProcessingError

# aiohttp has no time limit for a connection's first header, and an hour for each further one: silent clients could stay.
HEAD_TIMEOUT_S = 15
# For answers in progress. To aiohttp 0 means forever: until the last idle connection is closed.
GRACE_S = 0.2


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


class Front:
    def __init__(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], most: int) -> None:
        self._handle = handle
        self._most = limited(most)
        self._silent: set[Any] = set()  # new connections that have not yet sent a request header
        # With cancellation a client that has gone keeps no place in line and no connection to a clone.
        self._server = web.Server(self._request, handler_cancellation=True, keepalive_timeout=HEAD_TIMEOUT_S, logger=_log)

    @property
    def connections(self) -> int:
        return len(self._server.connections)

    def accept(self) -> asyncio.Protocol:
        """The protocol of a new connection. Connections above the limit are closed at once."""
        if len(self._server.connections) >= self._most:
            return Full()
        connection = self._server()
        self._silent.add(connection)
        asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._give_up, connection)
        return connection

    async def close(self) -> None:
        """Close all connections."""
        await self._server.shutdown(GRACE_S)

    def _give_up(self, connection: Any) -> None:
        if connection in self._silent:
            self._silent.discard(connection)
            if connection.transport:
                connection.transport.abort()

    async def _request(self, request: web.BaseRequest) -> web.StreamResponse:
        self._silent.discard(request.protocol)
        return await self._handle(request)
