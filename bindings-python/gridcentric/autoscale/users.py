"""Which user a request belongs to: by the proxy's cookie (the default), a header, the address, or a function.

Where the cookie is not kept, by a session of socket.io's. Knows requests; nothing of clones.
bindings-node/lib/autoscale/users.js is its twin.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Union

from aiohttp import web

from gridcentric.autoscale.headers import address_of
from gridcentric.autoscale.policy import Refused, User, is_id
from gridcentric.autoscale.sessions import Sessions

COOKIE = "gridcentric"
LONGEST_NAME = 256


def _cookie_of(request: web.BaseRequest) -> str:
    """By hand: http.cookies, which request.cookies uses, takes a tenth of the proxy's time."""
    for header in request.headers.getall("Cookie", []):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == COOKIE:
                return value
    return ""


class Users:
    """by, trusted: the options `users` and `trust_proxy`."""

    def __init__(self, by: Union[str, dict[str, str], Callable[[web.BaseRequest], Any]], trusted: bool) -> None:
        self._by, self._trusted = by, trusted
        self._sessions = Sessions()

    def of(self, request: web.BaseRequest) -> tuple[Optional[str], Optional[str]]:
        """The contents of its cookie, if it is ours; the name of a user that needs no cookie."""
        if self._by == "cookie":
            id = _cookie_of(request)
            return (id if is_id(id) else self._sessions.user_of(request)), None
        given = self._given(request)
        return None, (None if given is None or given == "" else f"={str(given)[:LONGEST_NAME]}")

    def listener(self, request: web.BaseRequest, user: User) -> Optional[Callable[[bytes], None]]:
        """What is to be called with the beginning of the answer's body, if that may tell how to recognise the user; or None."""
        return self._sessions.listener(request, user) if self._by == "cookie" and not user.confirmed else None

    def cookie(self, user: User) -> Optional[str]:
        """The Set-Cookie of a response to this user; None if it needs none."""
        if self._by == "cookie" and not user.confirmed:
            return f"{COOKIE}={user.id}; Path=/; HttpOnly; SameSite=Lax"
        return None

    def _given(self, request: web.BaseRequest) -> Any:
        if isinstance(self._by, dict):
            return request.headers.get(self._by["header"])
        if not callable(self._by):
            return address_of(request, self._trusted)
        try:
            return self._by(request)
        except Exception as error:
            raise Refused(f"the users function failed: {error}") from error
