"""Hands a request or a WebSocket over to a clone, and makes sure that it is that clone who gets it.

Knows where to send it only by asking `place`; decides nothing about scaling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Callable, Optional

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from gridcentric.autoscale.family import Family
from gridcentric.autoscale.policy import Clone, Refused, User

COOKIE = "gridcentric"
# A body up to this size is read before the request goes to a clone, so that it can go to another if that one is gone.
REPLAYED_BODY = 65536
ATTEMPTS = 3
CHUNK = 65536
# Larger WebSocket messages close their connection, so that one of them does not cost all memory.
MAX_MESSAGE = 16 << 20
HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "expect",
}  # fmt: skip
# What goes over a broken connection of a clone looks like one of these.
BROKEN = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class CloneGone(aiohttp.ClientConnectionError):
    """The connection stands, but not to the clone."""


class CloneConnector(aiohttp.TCPConnector):
    """Connections to one clone.

    An address whose clone has ended is answered by the master where the app listens on all addresses; so the host is
    asked, after the connection stands, whether the clone lives: then it is the one connected to.
    """

    def __init__(self, clone: Clone, family: Family, keep: bool) -> None:
        super().__init__(limit=0, force_close=not keep)
        self._vmid, self._lives = clone.vmid, family.lives

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        protocol = await super()._create_connection(*args, **kwargs)
        try:
            if not await self._lives(self._vmid):
                raise CloneGone(f"clone {self._vmid} has ended")
        except BaseException:
            protocol.close()
            raise
        return protocol


class Proxy:
    """enter(cookie) -> user: a request begins; exit(user): it has ended; await place(user) -> clone, or Refused;

    await lost(): a clone could not be reached, what lives is to be looked up; answered(clone): its answer begins.
    """

    def __init__(
        self,
        app_port: int,
        family: Family,
        retry_after: int,
        *,
        enter: Callable[[Optional[str]], User],
        exit: Callable[[User], None],
        place: Callable[[User], Awaitable[Clone]],
        lost: Callable[[], Awaitable[None]],
        answered: Callable[[Clone], None],
    ) -> None:
        self._app_port, self._family, self._retry_after = app_port, family, retry_after
        self._enter, self._exit, self._place, self._lost, self._answered = enter, exit, place, lost, answered
        self._sessions: dict[tuple[int, bool], aiohttp.ClientSession] = {}  # (vmid, connections are kept)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        user: Optional[User] = None
        try:
            user = self._enter(request.cookies.get(COOKIE))
            if not request.raw_path.startswith("/"):
                return self._say(user, 400, f"the path is {request.raw_path[:80]!r}, expected one that begins with /")
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._websocket(request, user)
            return await self._forward(request, user)
        except Refused as refused:
            return self._say(user, 503, str(refused))
        finally:
            if user:
                self._exit(user)

    async def forget(self, vmid: int) -> None:
        """A clone is gone: so are the connections to it."""
        for keep in (True, False):
            session = self._sessions.pop((vmid, keep), None)
            if session:
                await session.close()

    async def close(self) -> None:
        for vmid in {vmid for vmid, _ in self._sessions}:
            await self.forget(vmid)

    async def _forward(self, request: web.BaseRequest, user: User) -> web.StreamResponse:
        length = request.content_length
        stream = request.can_read_body and (length is None or length > REPLAYED_BODY)
        body: Any = request.content if stream else await request.read()
        headers = _forwarded(request)
        # An app that were told to close the connection might do so right after an early answer (413 to a large body), and
        # the answer would be lost in the reset. So each leg settles for itself whether its connection is kept.
        headers["Connection"] = "keep-alive"
        # A kept connection may be closed by the app just when a request goes out on it. A page is asked for again then;
        # what may have been done already (a message) is not: it gets a fresh connection.
        harmless = request.method in ("GET", "HEAD")
        for attempt in range(1, ATTEMPTS + 1):
            clone = await self._place(user)
            try:
                upstream = await self._session(clone, harmless).request(
                    request.method, self._url(request, clone), headers=headers, data=body or None,
                    allow_redirects=False,
                )  # fmt: skip
            except BROKEN as error:
                unsent = isinstance(error, (CloneGone, aiohttp.ClientConnectorError))
                if unsent:
                    await self._lost()
                if stream or not (unsent or harmless) or attempt == ATTEMPTS:
                    return self._say(user, 502, f"clone {clone.vmid} broke off: {error or type(error).__name__}")
                continue
            async with upstream:
                return await self._answer(request, upstream, user, clone)
        raise AssertionError("unreachable")

    async def _answer(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse, user: User, clone: Clone
    ) -> web.StreamResponse:
        self._answered(clone)
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        for name, value in upstream.headers.items():
            if name.lower() not in HOP_BY_HOP:
                response.headers.add(name, value)
        _mark(response, user, clone)
        await response.prepare(request)
        try:
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        except BROKEN:  # the clone, or the client, ended in mid-answer: so does the answer
            if request.transport:
                request.transport.abort()
        return response

    async def _websocket(self, request: web.BaseRequest, user: User) -> web.StreamResponse:
        protocols = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        headers = _forwarded(request)
        for name in [name for name in headers if name.lower().startswith("sec-websocket-")]:
            headers.popall(name)
        for attempt in range(1, ATTEMPTS + 1):
            clone = await self._place(user)
            try:
                upstream = await self._session(clone, False).ws_connect(
                    self._url(request, clone), protocols=protocols, headers=headers, autoping=False, autoclose=False,
                    max_msg_size=MAX_MESSAGE,
                )  # fmt: skip
                break
            except aiohttp.WSServerHandshakeError as error:
                return self._say(user, 502, f"clone {clone.vmid} took no WebSocket: {error.status} {error.message}")
            except BROKEN as error:
                await self._lost()
                if attempt == ATTEMPTS:
                    return self._say(user, 502, f"clone {clone.vmid} broke off: {error or type(error).__name__}")
        self._answered(clone)
        chosen = [upstream.protocol] if upstream.protocol else []
        downstream = web.WebSocketResponse(
            protocols=chosen, autoping=False, autoclose=False, compress=False, max_msg_size=MAX_MESSAGE
        )
        _mark(downstream, user, clone)
        await downstream.prepare(request)
        pumps = [
            asyncio.ensure_future(_pump(downstream, upstream)),
            asyncio.ensure_future(_pump(upstream, downstream)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, upstream.close(), return_exceptions=True)
        return downstream

    def _session(self, clone: Clone, keep: bool) -> aiohttp.ClientSession:
        session = self._sessions.get((clone.vmid, keep))
        if session is None:
            session = self._sessions[clone.vmid, keep] = aiohttp.ClientSession(
                connector=CloneConnector(clone, self._family, keep),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
                skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
            )
        return session

    def _url(self, request: web.BaseRequest, clone: Clone) -> URL:
        return URL(f"http://{clone.ip}:{self._app_port}{request.raw_path}", encoded=True)

    def _say(self, user: Optional[User], status: int, text: str) -> web.Response:
        response = web.Response(status=status, text=f"{text}\n", headers={"Cache-Control": "no-store"})
        if status == 503:
            response.headers["Retry-After"] = str(self._retry_after)
        if user and not user.confirmed:
            _give_cookie(response, user)
        return response


async def _pump(source: Any, target: Any) -> None:
    async for message in source:
        if message.type == aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type == aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
        elif message.type == aiohttp.WSMsgType.PING:
            await target.ping(message.data)
        elif message.type == aiohttp.WSMsgType.PONG:
            await target.pong(message.data)
    await target.close(code=source.close_code or 1000)


def _forwarded(request: web.BaseRequest) -> CIMultiDict[str]:
    """The request's headers as they go to the clone."""
    named = {name.strip().lower() for name in request.headers.get("Connection", "").split(",")}
    headers = CIMultiDict(request.headers)
    for name in {name for name in headers if name.lower() in HOP_BY_HOP | named}:
        headers.popall(name)
    before = headers.get("X-Forwarded-For")
    peer = request.remote or ""
    headers["X-Forwarded-For"] = f"{before},{peer}" if before else peer
    headers["X-Forwarded-Proto"] = request.scheme
    headers.setdefault("X-Forwarded-Host", request.headers.get("Host", ""))
    return headers


def _mark(response: web.StreamResponse, user: User, clone: Clone) -> None:
    """Say in an answer which clone it comes from; give a new user its cookie."""
    response.headers["X-Gridcentric-Vmid"] = str(clone.vmid)
    if not user.confirmed:
        _give_cookie(response, user)


def _give_cookie(response: web.StreamResponse, user: User) -> None:
    response.headers.add("Set-Cookie", f"{COOKIE}={user.id}; Path=/; HttpOnly; SameSite=Lax")
