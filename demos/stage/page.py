"""The page of a demo: a file, the demo's state as server-sent events, and actions for its buttons. On 127.0.0.1 only.

    async with Page(Path("page.html"), 8080, {"go": go}) as page:
        page.show(clones=3)

GET  /          the page; /stage.css and /stage.js are what all pages share
GET  /events    the whole state as JSON, again after each change (at most 25 times a second)
POST /do/NAME   {...} calls the action with these arguments -> what it returns, or {"error": TEXT} with status 400
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable

from aiohttp import web

from stage.performance import in_use

HERE = Path(__file__).resolve().parent
INTERVAL_S = 0.04  # between two states
Action = Callable[..., Awaitable[Any]]


class Page:
    def __init__(self, file: Path, port: int, actions: dict[str, Action] | None = None) -> None:
        self.port, self.url = port, f"http://localhost:{port}"
        self._actions = actions or {}
        self._state: dict[str, Any] = {}
        self._changed = asyncio.Event()
        self._closing = False
        self._files = {"/": file, "/stage.css": HERE / "stage.css", "/stage.js": HERE / "stage.js"}

    def show(self, **news: Any) -> None:
        """Changes parts of the state; every open page gets it."""
        self._state.update(news)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Page:
        app = web.Application(middlewares=[self._guard])
        app.add_routes([web.get(path, self._file) for path in self._files])
        app.add_routes([web.get("/events", self._events), web.post("/do/{action}", self._do)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self.port, shutdown_timeout=1).start()
        except OSError as error:
            await self._runner.cleanup()
            if error.errno != errno.EADDRINUSE:
                raise
            raise in_use(self.port) from None
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closing = True
        self._wake()
        await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Only pages from here may ask: not one from elsewhere whose name has come to mean this computer."""
        if request.url.host not in ("localhost", "127.0.0.1", "::1"):
            raise web.HTTPForbidden(text=f"this page is at {self.url}")
        return await handler(request)  # type: ignore[no-any-return]

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(self._files[request.path], headers={"Cache-Control": "no-store"})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        while not self._closing:
            changed = self._changed
            try:
                await response.write(b"data: " + json.dumps(self._state).encode() + b"\n\n")
            except ConnectionError:
                break
            await changed.wait()
            await asyncio.sleep(0 if self._closing else INTERVAL_S)
        return response

    async def _do(self, request: web.Request) -> web.StreamResponse:
        # Another site's page could send a plain form, but not this type.
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="expected application/json")
        action = self._actions.get(request.match_info["action"])
        if action is None:
            raise web.HTTPNotFound(text="no such action")
        try:
            given = await request.json()
            return web.json_response(await action(**given))
        except (TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
