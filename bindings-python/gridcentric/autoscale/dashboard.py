"""The server side of the dashboard: the page, the feed of server-sent events, and "who am I" for the app's own page.

Shows what it is given to clients that may see it; knows neither the guest library nor the rules. The page is
autoscale/dashboard.html.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
from collections import deque
from typing import Any, Callable, Optional, Union
from urllib.parse import parse_qs, quote, unquote

from aiohttp import web

from gridcentric.autoscale.headers import address_of
from gridcentric.autoscale.shared import shared

PREFIX = "/_gridcentric"
HISTORY = 900  # points kept for the charts of pages opened later
EVENTS = 60
READERS = 64
UNREAD = 200  # messages that a page may leave unread before it is disconnected
AT_MOST_EVERY_S = 0.1
TOKEN_COOKIE = "gridcentric-dashboard"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


class Dashboard:
    """admits, trusted: the options `dashboard` and `trust_proxy`; snapshot() -> the state as docs/autoscale.md describes it;

    me(request) -> the caller's identity.
    """

    def __init__(
        self,
        admits: Union[bool, dict[str, str], Callable[[Any], Any]],
        trusted: bool,
        snapshot: Callable[[], dict[str, Any]],
        me: Callable[[web.BaseRequest], dict[str, Any]],
        clock: Callable[[], float],
    ) -> None:
        self.metrics: Optional[Callable[[], str]] = None  # what Prometheus reads at /_gridcentric/metrics, if it is there
        self._admits, self._trusted = admits, trusted
        self._snapshot, self._me, self._clock = snapshot, me, clock
        self.started = clock()
        self._page = shared("dashboard.html").encode() if admits else b""
        self._history: deque[list[int]] = deque(maxlen=HISTORY)  # [ms, users, clones]
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self._readers: set[asyncio.Queue[Optional[bytes]]] = set()
        self._pending: Optional[asyncio.TimerHandle] = None

    @staticmethod
    def owns(raw_path: str) -> bool:
        return raw_path.split("?", 1)[0] == PREFIX or raw_path.startswith(f"{PREFIX}/")

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if request.method not in ("GET", "HEAD"):
            return _reply(405, {"error": "GET only"}, {"Allow": "GET"})
        if path == f"{PREFIX}/me":
            return _reply(200, self._me(request))
        if not self._admits:
            return _reply(404, {"error": "the dashboard is off (option dashboard)"})
        token = parse_qs(query).get("token", [""])[0]
        refusal = self._refusal(request, token)
        if refusal:
            return _reply(403, {"error": refusal})
        if path in (PREFIX, f"{PREFIX}/"):
            headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
            if isinstance(self._admits, dict) and token:  # so that the page's own requests carry it
                headers["Set-Cookie"] = f"{TOKEN_COOKIE}={quote(token, safe='')}; Path={PREFIX}; HttpOnly; SameSite=Strict"
            return web.Response(body=self._page, content_type="text/html", charset="utf-8", headers=headers)
        if path == f"{PREFIX}/state":
            return _reply(200, self._full())
        if path == f"{PREFIX}/events":
            return await self._subscribe(request)
        if path == f"{PREFIX}/metrics" and self.metrics:
            return web.Response(text=self.metrics(), headers={"Content-Type": METRICS_TYPE, "Cache-Control": "no-store"})
        return _reply(404, {"error": f"there is {PREFIX}, {PREFIX}/state, {PREFIX}/events and {PREFIX}/me"})

    def note(self, kind: str, text: str) -> None:
        """Add an event to the list shown."""
        self._events.append({"t": self._now(), "kind": kind, "text": text})
        self.changed()

    def point(self, users: int, clones: int) -> None:
        """Add a point to the chart."""
        self._history.append([self._now(), users, clones])
        self.changed()

    def changed(self) -> None:
        """Tell all pages, soon."""
        if self._readers and not self._pending:
            self._pending = asyncio.get_running_loop().call_later(AT_MOST_EVERY_S, self._send)

    def close(self) -> None:
        if self._pending:
            self._pending.cancel()
            self._pending = None
        for queue in self._readers:
            _cut_off(queue)

    def _refusal(self, request: web.BaseRequest, asked: str) -> Optional[str]:
        """Why this request may not see the dashboard; None if it may."""
        if self._admits is True:
            if _is_local(request, self._trusted):
                return None
            return (
                "the dashboard can only be opened from this computer: open it as localhost, or set the option dashboard to a "
                "token or a function"
            )
        if callable(self._admits):
            try:
                admitted = self._admits(request) is True
            except Exception:
                admitted = False  # a failing function admits nobody
            return None if admitted else "access to the dashboard is denied (option dashboard)"
        assert isinstance(self._admits, dict)
        token = self._admits["token"].encode()
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        carried = unquote(request.cookies.get(TOKEN_COOKIE, ""))
        for given in (asked, bearer if scheme.lower() == "bearer" else "", carried):
            if given and hmac.compare_digest(given.encode(errors="replace"), token):
                return None
        return "the dashboard needs its token: /_gridcentric?token=..."

    def _now(self) -> int:
        return round(self._clock() - self.started)

    def _state(self) -> dict[str, Any]:
        return {"now": self._now(), **self._snapshot(), "events": list(self._events)}

    def _full(self) -> dict[str, Any]:
        return {**self._state(), "history": list(self._history)}

    async def _subscribe(self, request: web.BaseRequest) -> web.StreamResponse:
        if len(self._readers) >= READERS:
            return _reply(503, {"error": f"{READERS} pages are watching already"}, {"Retry-After": "10"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        queue: asyncio.Queue[Optional[bytes]] = asyncio.Queue(UNREAD)
        queue.put_nowait(b"retry: 1000\n" + _event("hello", self._full()))
        self._readers.add(queue)
        try:
            await response.prepare(request)
            while (text := await queue.get()) is not None:
                await response.write(text)
        except ConnectionError:
            pass  # the page was closed
        finally:
            self._readers.discard(queue)
        return response

    def _send(self) -> None:
        self._pending = None
        text = _event("state", {**self._state(), "point": self._history[-1] if self._history else None})
        for queue in self._readers:
            if queue.full():
                _cut_off(queue)
            else:
                queue.put_nowait(text)


def _is_local(request: web.BaseRequest, trusted: bool) -> bool:
    """Whether the request comes from this computer, and not through an untrusted front proxy on it."""
    relayed = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    try:
        address = ipaddress.ip_address(address_of(request, trusted))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback) and (trusted or not relayed)


def _cut_off(queue: asyncio.Queue[Optional[bytes]]) -> None:
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _reply(status: int, body: dict[str, Any], headers: Optional[dict[str, str]] = None) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store", **(headers or {})})
