"""Sessions of socket.io, by which clients without a cookie jar (most, outside of browsers) are recognised.

The server names the session in its answer to a client's first poll, and what follows brings it in its query. Knows no more of
the protocol than this (socket.io's "Engine.IO protocol", the handshake). bindings-node/lib/autoscale/sessions.js is its twin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Callable, Optional

from aiohttp import web

from gridcentric.autoscale.policy import User

MOST = 100_000
_NAMED = re.compile(rb'(?:\d+:)?0\{"sid":"([^"\\]{1,128})"')  # version 3 puts the length before it


def _query(request: web.BaseRequest) -> Optional[Mapping[str, str]]:
    """Of a request of socket.io's, or None. Most are not, and need not be parsed."""
    return request.query if "EIO=" in request.raw_path.partition("?")[2] else None


class Sessions:
    def __init__(self) -> None:
        self._users: dict[str, str] = {}  # session -> id of its user; oldest first

    def user_of(self, request: web.BaseRequest) -> Optional[str]:
        """The id of the user whose session the request belongs to; None if there is none."""
        query = _query(request)
        return self._users.get(query.get("sid", "")) if query else None

    def listener(self, request: web.BaseRequest, user: User) -> Optional[Callable[[bytes], None]]:
        """What is to be called with the beginning of the answer's body, if that may name a session."""
        query = _query(request)
        if query is None or "sid" in query:
            return None

        def listen(chunk: bytes) -> None:
            if named := _NAMED.match(chunk):
                if len(self._users) >= MOST:
                    del self._users[next(iter(self._users))]
                self._users[named[1].decode("latin-1")] = user.id

        return listen
