"""Hands a request or a WebSocket over to a clone, and makes sure that it is that clone who gets it, once.

Knows where to send it only by asking `place`; decides nothing about scaling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Callable, Optional

import aiohttp
from aiohttp import web

from gridcentric.autoscale.family import Family
from gridcentric.autoscale.headers import fault, towards_client, towards_clone, wants_websocket
from gridcentric.autoscale.policy import Clone, Refused, User
from gridcentric.autoscale.upstream import BROKEN, MAX_MESSAGE, Answer, Late, NotSwitched, Sending, Upstream

# A body up to this size is read before the request goes to a clone, so that it can go to another if that one is gone.
REPLAYED_BODY = 65536
BODY_TIMEOUT_S = 120
ATTEMPTS = 3
PAUSE_S = 0.05  # between them, longer each time


class _AsItCame(web.StreamResponse):
    """A response without the headers that aiohttp adds to those that have none of that name."""

    async def _prepare_headers(self) -> None:
        own = {name for name in ("Content-Type", "Server") if name in self.headers}
        await super()._prepare_headers()
        for name in {"Content-Type", "Server"} - own:
            self.headers.popall(name, None)


class _Whole(_AsItCame, web.Response): ...


class Proxy:
    """enter(request) -> user: a request begins; exit(user): it has ended; await place(user) -> clone, or Refused;

    await lost(): a clone could not be reached, what lives is to be looked up; answered(clone): its answer begins;
    cookie(user): the Set-Cookie of an answer to it, or None; listener(request, user): what is called with the beginning of the
    answer's body, or None. request_timeout, trust_proxy: the options.
    """

    def __init__(
        self,
        app_port: int,
        family: Family,
        retry_after: int,
        *,
        request_timeout: int,
        trust_proxy: bool,
        enter: Callable[[web.BaseRequest], User],
        exit: Callable[[User], None],
        place: Callable[[User], Awaitable[Clone]],
        lost: Callable[[], Awaitable[None]],
        answered: Callable[[Clone], None],
        cookie: Callable[[User], Optional[str]],
        listener: Callable[[web.BaseRequest, User], Optional[Callable[[bytes], None]]],
    ) -> None:
        self._app_port, self._family, self._retry_after = app_port, family, retry_after
        self._timeout, self._trusted = request_timeout / 1000, trust_proxy
        self._enter, self._exit, self._place, self._lost = enter, exit, place, lost
        self._answered, self._cookie, self._listener = answered, cookie, listener
        self._upstreams: dict[int, Upstream] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        wrong = fault(request)
        if wrong:
            return self._say(None, 400, wrong)
        expects = request.headers.get("Expect", "100-continue").lower()
        if expects != "100-continue":
            return self._say(None, 417, f"the expectation is '{expects[:80]}', expected 100-continue")
        user: Optional[User] = None
        try:
            user = self._enter(request)
            return await self._deliver(request, user)
        except Refused as refused:
            return self._say(user, 503, str(refused))
        finally:
            if user:
                self._exit(user)

    def has_spoken(self, vmid: int) -> bool:
        """Has anything come from this clone since this was asked last?"""
        upstream = self._upstreams.get(vmid)
        return bool(upstream and upstream.has_spoken())

    async def forget(self, vmid: int) -> None:
        """A clone is gone: so are the connections to it."""
        upstream = self._upstreams.pop(vmid, None)
        if upstream:
            await upstream.close()

    async def close(self) -> None:
        for vmid in list(self._upstreams):
            await self.forget(vmid)

    async def _deliver(self, request: web.BaseRequest, user: User) -> web.StreamResponse:
        """To a clone, and to another only when that one has got nothing of it.

        What may have ended one clone shall not end a second. A kept connection may be closed by the app just when a request
        goes out on it; then a page is asked for again, on a fresh connection to the same clone. What may have been done
        already (a message) never is.
        """
        websocket = wants_websocket(request)
        try:
            body = b"" if websocket else await _small_body(request)
        except asyncio.TimeoutError:
            return self._say(user, 408, f"the body did not come within {BODY_TIMEOUT_S} s")
        except (ConnectionError, web.RequestPayloadError):
            return self._say(user, 400, "the body broke off")
        harmless = request.method in ("GET", "HEAD")
        met: Optional[Clone] = None  # has got it
        for attempt in range(1, ATTEMPTS + 1):
            clone = await self._place(user)
            if met and met is not clone:
                break
            sending = Sending()
            try:
                if websocket:
                    return await self._websocket(request, user, clone, sending)
                upstream, headers = self._upstream(clone), towards_clone(request, self._trusted)
                fresh = not harmless or attempt > 1
                answer = await upstream.send(request, headers, body, self._timeout, fresh, sending)
            except NotSwitched as refused:
                headers = towards_client(refused.answer.headers)
                page = _Whole(status=refused.answer.status, reason=refused.answer.reason, headers=headers, body=refused.body)
                self._mark(page, user, clone)
                return page
            except Late as late:
                return self._say(user, 504, f"clone {clone.vmid}: {late}")
            except BROKEN as error:
                if self._family.is_clone():
                    raise Refused("this is a clone: the request is its master's") from error
                await self._lost()
                again = not sending.sent or (sending.reused and harmless and clone.vmid in self._upstreams)
                if not again or body is None or attempt == ATTEMPTS:
                    return self._say(user, 502, f"clone {clone.vmid} broke off: {error or type(error).__name__}")
                if sending.sent:
                    met = clone
                else:  # it may have ended without the host knowing yet: its gc-reaper ends a little later
                    await asyncio.sleep(PAUSE_S * attempt)
                continue
            try:
                return await self._answer(request, answer, user, upstream)
            finally:
                answer.close()
        assert met
        return self._say(user, 502, f"clone {met.vmid} has ended")

    async def _answer(self, request: web.BaseRequest, answer: Answer, user: User, upstream: Upstream) -> web.StreamResponse:
        headers, content = towards_client(answer.headers), answer.content
        listen = self._listener(request, user)
        if content.is_eof() and request.method != "HEAD" and "Content-Length" in headers:
            # All of it is there: head and body go out at once.
            body = content.read_nowait()
            if listen:
                listen(body)
            response: web.StreamResponse = _Whole(status=answer.status, reason=answer.reason, headers=headers, body=body)
            self._mark(response, user, upstream.clone)
            return response
        response = _AsItCame(status=answer.status, reason=answer.reason, headers=headers)
        self._mark(response, user, upstream.clone)
        try:
            await response.prepare(request)
            async for chunk in content.iter_any():
                upstream.heard(len(chunk))
                if listen:
                    listen(chunk)
                    listen = None
                await response.write(chunk)
            await response.write_eof()
        except BROKEN:  # the clone, or the client, ended in mid-answer: so does the answer
            if request.transport:
                request.transport.abort()
        return response

    async def _websocket(self, request: web.BaseRequest, user: User, clone: Clone, sending: Sending) -> web.StreamResponse:
        protocols = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        headers = towards_clone(request, self._trusted)
        for name in {name for name in headers if name.lower().startswith("sec-websocket-")}:
            headers.popall(name)
        upstream = self._upstream(clone)
        theirs = await upstream.websocket(request, headers, protocols, self._timeout, sending)
        ours = web.WebSocketResponse(
            protocols=[theirs.protocol] if theirs.protocol else [], autoping=False, autoclose=False, compress=False,
            max_msg_size=MAX_MESSAGE,
        )  # fmt: skip
        pumps: list[asyncio.Future[None]] = []
        try:
            self._mark(ours, user, clone)
            await ours.prepare(request)
            pumps = [asyncio.ensure_future(_pump(*ends)) for ends in ((ours, theirs, None), (theirs, ours, upstream))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except web.HTTPException as refused:  # no WebSocket after all: a header is missing or wrong
            return self._say(user, refused.status, refused.text or refused.reason)
        except ConnectionError:
            pass  # the client has gone
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, theirs.close(), return_exceptions=True)
        return ours

    def _upstream(self, clone: Clone) -> Upstream:
        if clone.vmid not in self._upstreams:
            self._upstreams[clone.vmid] = Upstream(clone, self._family, self._app_port)
        return self._upstreams[clone.vmid]

    def _mark(self, response: web.StreamResponse, user: User, clone: Clone) -> None:
        """Say in an answer which clone it comes from; give a new user its cookie."""
        self._answered(clone)
        response.headers["X-Gridcentric-Vmid"] = str(clone.vmid)
        cookie = self._cookie(user)
        if cookie:
            response.headers.add("Set-Cookie", cookie)

    def _say(self, user: Optional[User], status: int, text: str) -> web.Response:
        response = web.Response(status=status, text=f"{text}\n", headers={"Cache-Control": "no-store"})
        if status in (400, 408, 417):
            response.force_close()  # where the next request begins is not certain
        if status == 503:
            response.headers["Retry-After"] = str(self._retry_after)
        cookie = self._cookie(user) if user else None
        if cookie:
            response.headers.add("Set-Cookie", cookie)
        return response


async def _small_body(request: web.BaseRequest) -> Optional[bytes]:
    """The body, when it is small enough to be sent again; None: it is a stream."""
    if not request.can_read_body:
        return b""
    if "Expect" in request.headers and request.version >= (1, 1) and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = request.content_length
    return None if length is None or length > REPLAYED_BODY else await asyncio.wait_for(request.read(), BODY_TIMEOUT_S)


async def _pump(source: Any, target: Any, upstream: Optional[Upstream]) -> None:
    async for message in source:
        if upstream:
            upstream.heard()
        if message.type == aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type == aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
        elif message.type == aiohttp.WSMsgType.PING:
            await target.ping(message.data)
        elif message.type == aiohttp.WSMsgType.PONG:
            await target.pong(message.data)
    await target.close(code=source.close_code or 1000)
