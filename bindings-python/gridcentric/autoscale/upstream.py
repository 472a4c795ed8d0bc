"""The connections to the clones, and one request over one of them.

Knows nothing of users; whom to ask again, proxy.py decides. Requests go over aiohttp's client protocol, but not through its
ClientSession, which takes as long as all the rest of the proxy; WebSockets do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Optional

import aiohttp
from aiohttp import web
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict
from yarl import URL

from gridcentric.autoscale.family import Family
from gridcentric.autoscale.policy import Clone

# Larger WebSocket messages close their connection, so that one of them does not cost all memory.
MAX_MESSAGE = 16 << 20
CONNECT_TIMEOUT_S = 5
MOST_KEPT = 256  # idle connections to a clone
# What goes over a broken connection of a clone looks like one of these.
BROKEN = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


# A header may have a tab, and what is not ASCII.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


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
            _passable(self.status, self.reason, self.headers)
            raise NotSwitched(self, await self.read())
        return self


# Of the task that opens a WebSocket: aiohttp tells no more than that something was sent.
_sending: ContextVar[Sending] = ContextVar("sending")


class CloneConnector(aiohttp.TCPConnector):
    """Connections to one clone for WebSockets, none of them used twice."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(limit=0, force_close=True)
        self._upstream = upstream

    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        if _sending.get().sent:  # aiohttp asks again by itself; but what may have ended a clone goes out once
            raise aiohttp.ClientConnectionError("it ended the connection instead of answering")
        return await self._upstream.checked(await super()._create_connection(*args, **kwargs))


class Sending:
    """How far a request has come. `sent`: its head has gone out; `reused`: on a kept connection; `moved`: bytes of its body."""

    def __init__(self) -> None:
        self.sent = self.reused = False
        self.moved = 0


class Answer:
    """A clone's answer, from its head on. To be closed: then its connection is kept, if it can be."""

    def __init__(self, message: Any, content: aiohttp.StreamReader, close: Callable[[], None]) -> None:
        self.status, self.reason, self.headers, self.content, self.close = (
            message.code, message.reason, message.headers, content, close,
        )  # fmt: skip


class Upstream:
    """What there is of one clone: kept connections for what may be asked twice, fresh ones for what may not."""

    def __init__(self, clone: Clone, family: Family, port: int) -> None:
        self.clone, self._family, self._port = clone, family, port
        self._kept: list[ResponseHandler] = []
        self._used: set[ResponseHandler] = set()
        self._websockets: Optional[aiohttp.ClientSession] = None
        self._heard = self._looked = 0

    def heard(self, size: int = 1) -> None:
        """That many bytes have come from it."""
        self._heard += size

    def has_spoken(self) -> bool:
        """Has anything come from the clone since this was asked last?"""
        spoken, self._looked = self._heard > self._looked, self._heard
        return spoken

    async def close(self) -> None:
        for connection in [*self._kept, *self._used]:
            if connection.transport:  # whoever reads an answer from it is told; by connection.close() nobody is
                connection.transport.abort()
        self._kept.clear()
        if self._websockets:
            await self._websockets.close()

    async def checked(self, connection: ResponseHandler) -> ResponseHandler:
        """The connection, if it is one to the clone.

        An address whose clone has ended may be answered by somebody else (the master, where the app listens on all
        addresses); so the host is asked, after the connection stands, whether the clone lives: then it is the one connected
        to. The clone may have ended before the host noticed: then the connection has ended.
        """
        try:
            if not await self._family.lives(self.clone.vmid):
                raise aiohttp.ClientConnectionError(f"clone {self.clone.vmid} has ended")
            if not connection.is_connected():
                raise aiohttp.ClientConnectionError("it closed the connection")
        except BaseException:
            connection.close()
            raise
        return connection

    async def send(
        self, request: web.BaseRequest, headers: CIMultiDict[str], body: Optional[bytes], timeout: float, fresh: bool,
        sending: Sending,
    ) -> Answer:  # fmt: skip
        """The clone's answer. body None: the request's is passed on as it comes.

        Raises one of BROKEN, or Late: for `timeout` seconds neither has the clone said anything nor the body moved.
        """
        connection = None if fresh else self._idle()
        sending.reused = connection is not None
        if connection is None:
            connection = await self._connect()
        self._used.add(connection)
        streamed: Optional[asyncio.Task[None]] = None
        loop = asyncio.get_running_loop()
        late: asyncio.TimerHandle

        def close() -> None:
            late.cancel()
            self._used.discard(connection)
            if streamed and not streamed.done():
                streamed.cancel()
            elif connection.is_connected() and not connection.should_close and not fresh and len(self._kept) < MOST_KEPT:
                self._kept.append(connection)
                return
            connection.close()

        def no_answer(moved: int = 0) -> None:
            nonlocal late
            if sending.moved != moved:
                late = loop.call_later(timeout, no_answer, sending.moved)
            else:
                connection.set_exception(Late(f"it did not answer within {round(timeout * 1000)} ms"))

        late = loop.call_later(timeout, no_answer)
        try:
            connection.set_response_params(skip_payload=request.method == "HEAD", read_until_eof=True, auto_decompress=False)
            sending.sent = True
            assert connection.transport
            connection.transport.write(self._head(request, headers, body) + (body or b""))
            if body is None:
                streamed = asyncio.ensure_future(_stream(request, connection, "Content-Length" not in headers, sending))
                streamed.add_done_callback(lambda done: done.cancelled() or done.exception())  # the connection's end says it
            message, content = await _answer(connection)
        except HttpProcessingError as error:
            connection.force_close()
            close()
            raise aiohttp.ClientPayloadError(f"its answer is malformed: {error.message.splitlines()[0]}") from error
        except BaseException:
            connection.force_close()
            close()
            raise
        late.cancel()
        self.heard()
        return Answer(message, content, close)

    async def websocket(
        self, request: web.BaseRequest, headers: CIMultiDict[str], protocols: list[str], timeout: float, sending: Sending
    ) -> Any:  # aiohttp.ClientWebSocketResponse, whose parameters differ from version to version
        """The same for a request that asks for a WebSocket. Raises NotSwitched too."""
        _sending.set(sending)
        if self._websockets is None:
            self._websockets = aiohttp.ClientSession(
                connector=CloneConnector(self),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
                trace_configs=[_watched()],
                response_class=_Handshake,
            )
        # All of it as the path: as it came, a lone ? and what looks like a fragment too.
        url = URL.build(scheme="http", host=self.clone.ip, port=self._port, path=request.raw_path, encoded=True)
        opening = self._websockets.ws_connect(
            url, protocols=protocols, headers=headers, autoping=False, autoclose=False, max_msg_size=MAX_MESSAGE
        )
        try:
            return await asyncio.wait_for(opening, timeout)
        except asyncio.TimeoutError:
            raise Late(f"it did not answer within {round(timeout * 1000)} ms") from None

    def _idle(self) -> Optional[ResponseHandler]:
        while self._kept:
            connection = self._kept.pop()
            if connection.is_connected() and not connection.should_close:
                return connection
            connection.close()
        return None

    async def _connect(self) -> ResponseHandler:
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(lambda: ResponseHandler(loop), self.clone.ip, self._port)
        _, connection = await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
        return await self.checked(connection)

    def _head(self, request: web.BaseRequest, headers: CIMultiDict[str], body: Optional[bytes]) -> bytes:
        lines = [f"{request.method} {request.raw_path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if "Host" not in headers:  # HTTP/1.0 may come without
            lines.append(f"Host: {self.clone.ip}:{self._port}")
        if body is None and "Content-Length" not in headers:
            lines.append("Transfer-Encoding: chunked")
        # An app that were told to close the connection might do so right after an early answer (413 to a large body), and
        # the answer would be lost in the reset. So each leg settles for itself whether its connection is kept.
        lines.append("Connection: keep-alive\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")


async def _answer(connection: ResponseHandler) -> tuple[Any, aiohttp.StreamReader]:
    """The head of an answer that may be passed on, and its body."""
    message, content = await connection.read()
    while 100 <= message.code < 200 and message.code != 101:
        message, content = await connection.read()
    _passable(message.code, message.reason, message.headers)
    return message, content


def _passable(status: int, reason: Optional[str], headers: Mapping[str, str]) -> None:
    """aiohttp reads answers that it does not write, or that nobody may be sent."""
    if status < 200:
        raise aiohttp.ClientPayloadError(f"its answer has the status {status}")
    if any(_CONTROL.search(text) for text in (reason or "", *headers.values())):
        raise aiohttp.ClientPayloadError("its answer has a control character in its head")


async def _stream(request: web.BaseRequest, connection: ResponseHandler, chunked: bool, sending: Sending) -> None:
    """The body of a request, as it comes. When it breaks off, so does the connection to the clone."""
    writer = StreamWriter(connection, asyncio.get_running_loop())
    if chunked:
        writer.enable_chunking()
    try:
        async for chunk in request.content.iter_any():
            sending.moved += len(chunk)
            await writer.write(chunk)
        await writer.write_eof()
    except ConnectionError:
        pass  # the clone has answered, or ended: whoever waits for its answer learns which
    except BaseException:
        connection.close()
        raise


def _watched() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def sent(*_: Any) -> None:
        _sending.get().sent = True

    trace.on_request_headers_sent.append(sent)
    return trace
