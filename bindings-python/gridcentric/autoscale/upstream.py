"""The connections to the clones, and one request over one of them.

Knows nothing of users; whom to ask again, proxy.py decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any, Optional

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from gridcentric.autoscale.family import Family
from gridcentric.autoscale.policy import Clone

# Larger WebSocket messages close their connection, so that one of them does not cost all memory.
MAX_MESSAGE = 16 << 20
# What goes over a broken connection of a clone looks like one of these.
BROKEN = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class Late(Exception):
    """The clone has said nothing for too long."""


class NotSwitched(Exception):
    """The clone has answered a request for a WebSocket with something else."""

    def __init__(self, answer: aiohttp.ClientResponse, body: bytes) -> None:
        super().__init__(f"{answer.status} {answer.reason}")
        self.answer, self.body = answer, body


class _Handshake(aiohttp.ClientResponse):
    """The answer to a request for a WebSocket. aiohttp keeps nothing of one that is something else, and follows redirections:
    so it is read before aiohttp sees it."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        await super().start(connection)
        if self.status != 101:
            raise NotSwitched(self, await self.read())
        return self


class CloneConnector(aiohttp.TCPConnector):
    """Connections to one clone.

    An address whose clone has ended may be answered by somebody else (the master, where the app listens on all addresses);
    so the host is asked, after the connection stands, whether the clone lives: then it is the one connected to.
    """

    def __init__(self, clone: Clone, family: Family, keep: bool) -> None:
        super().__init__(limit=0, force_close=not keep)
        self._vmid, self._lives = clone.vmid, family.lives

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        protocol = await super()._create_connection(*args, **kwargs)
        try:
            if not await self._lives(self._vmid):
                raise aiohttp.ClientConnectionError(f"clone {self._vmid} has ended")
            if not protocol.is_connected():  # the clone may have ended before the host noticed
                raise aiohttp.ClientConnectionError("it closed the connection")
        except BaseException:
            protocol.close()
            raise
        return protocol


class Sending:
    """How far a request has come. `sent`: its head has gone out; `reused`: on a kept connection; `moved`: bytes of its body."""

    def __init__(self) -> None:
        self.sent = self.reused = False
        self.moved = 0

    async def counted(self, body: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        async for chunk in body.iter_any():
            self.moved += len(chunk)
            yield chunk


# Of the task that sends: aiohttp tells no more than that something was sent.
_sending: ContextVar[Sending] = ContextVar("sending")


class Upstream:
    """What there is of one clone: kept connections for what may be asked twice, fresh ones for what may not."""

    def __init__(self, clone: Clone, family: Family, port: int) -> None:
        self.clone, self._family, self._port = clone, family, port
        self._sessions: dict[Optional[bool], aiohttp.ClientSession] = {}  # connections are kept? None: for WebSockets
        self._heard = self._looked = 0

    def heard(self, size: int = 1) -> None:
        """So many bytes have come from it."""
        self._heard += size

    def has_spoken(self) -> bool:
        """Has anything come from the clone since this was asked last?"""
        spoken, self._looked = self._heard > self._looked, self._heard
        return spoken

    async def close(self) -> None:
        for session in list(self._sessions.values()):
            await session.close()

    async def send(
        self, request: web.BaseRequest, headers: CIMultiDict[str], body: Optional[bytes], timeout: float, fresh: bool,
        sending: Sending,
    ) -> aiohttp.ClientResponse:  # fmt: skip
        """The clone's answer, from its head on. body None: the request's is passed on as it comes.

        Raises one of BROKEN, or Late: for `timeout` seconds neither has the clone said anything nor the body moved.
        """
        # An app that were told to close the connection might do so right after an early answer (413 to a large body), and
        # the answer would be lost in the reset. So each leg settles for itself whether its connection is kept.
        headers["Connection"] = "keep-alive"
        _sending.set(sending)
        asking = asyncio.ensure_future(
            self._session(not fresh).request(
                request.method, self._url(request), headers=headers, allow_redirects=False,
                data=sending.counted(request.content) if body is None else body or None,
            )
        )  # fmt: skip
        asking.add_done_callback(lambda done: done.cancelled() or done.exception())  # a client that has gone asks no more
        try:
            moved = -1
            while moved != sending.moved:
                moved = sending.moved
                await asyncio.wait([asking], timeout=timeout)
                if asking.done():
                    self.heard()
                    return asking.result()
            raise Late(f"it did not answer within {round(timeout * 1000)} ms")
        finally:
            if not asking.done():
                asking.cancel()

    async def websocket(
        self, request: web.BaseRequest, headers: CIMultiDict[str], protocols: list[str], timeout: float, sending: Sending
    ) -> Any:  # aiohttp.ClientWebSocketResponse, whose parameters differ from version to version
        """The same for a request that asks for a WebSocket. Raises NotSwitched too."""
        _sending.set(sending)

        async def open_it() -> Any:
            return await self._session(None).ws_connect(
                self._url(request), protocols=protocols, headers=headers, autoping=False, autoclose=False,
                max_msg_size=MAX_MESSAGE,
            )  # fmt: skip

        try:
            return await asyncio.wait_for(open_it(), timeout)
        except asyncio.TimeoutError:
            raise Late(f"it did not answer within {round(timeout * 1000)} ms") from None

    def _session(self, keep: Optional[bool]) -> aiohttp.ClientSession:
        session = self._sessions.get(keep)
        if session is None:
            session = self._sessions[keep] = aiohttp.ClientSession(
                connector=CloneConnector(self.clone, self._family, bool(keep)),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
                skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
                trace_configs=[_watched()],
                response_class=_Handshake if keep is None else aiohttp.ClientResponse,
            )
        return session

    def _url(self, request: web.BaseRequest) -> URL:
        # All of it as the path: as it came, a lone ? and what looks like a fragment too.
        return URL.build(scheme="http", host=self.clone.ip, port=self._port, path=request.raw_path, encoded=True)


def _watched() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def sent(*_: Any) -> None:
        _sending.get().sent = True

    async def reused(*_: Any) -> None:
        _sending.get().reused = True

    trace.on_request_headers_sent.append(sent)
    trace.on_connection_reuseconn.append(reused)
    return trace
