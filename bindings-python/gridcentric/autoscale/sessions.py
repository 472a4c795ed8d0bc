"""Sessions of socket.io, by which clients without a cookie jar (most, outside of browsers) are recognised.

The server names the session in its answer to a client's first poll, and what follows brings it in its query. Knows no more of
the protocol than this (socket.io's "Engine.IO protocol", the handshake). bindings-node/lib/autoscale/sessions.js is its twin.
"""

from __future__ import annotations

import re
from typing import Callable, Optional
from urllib.parse import parse_qs

from aiohttp import web

from gridcentric.autoscale.policy import User

MOST = 100_000
_NAMED = re.compile(rb'(?:\d+:)?0\{"sid":"([^"\\]{1,128})"')  # version 3 puts the length before it


def _query(request: web.BaseRequest) -> Optional[dict[str, list[str]]]:
    """Of a request of socket.io's, or None. By hand: request.query takes much longer."""
    _, _, query = request.path_qs.partition("?")
    return parse_qs(query, keep_blank_values=True) if "EIO=" in query else None


class Sessions:
    def __init__(self) -> None:
        self._users: dict[bytes, str] = {}  # session -> id of its user; oldest first

    def user_of(self, request: web.BaseRequest) -> Optional[str]:
        """The id of the user whose session the request belongs to; None if there is none."""
        query = _query(request)
        return self._users.get(query["sid"][0].encode("latin-1", "replace")) if query and "sid" in query else None

    def listener(self, request: web.BaseRequest, user: User) -> Optional[Callable[[bytes], None]]:
        """What is to be called with the beginning of the answer's body, if that may name a session."""
        query = _query(request)
        if query is None or "sid" in query:
            return None

        def listen(chunk: bytes) -> None:
            if named := _NAMED.match(chunk):
                if len(self._users) >= MOST:
                    del self._users[next(iter(self._users))]
                self._users[named[1]] = user.id

        return listen
