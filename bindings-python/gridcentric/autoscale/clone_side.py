"""The part of autoscale that runs in a clone: two answers on the port that is the proxy's in the master.

They are for the master: "I am alive, and I am clone 3" and "I am ending now". The clone's inherited proxy connections are
dead and are dropped.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

from aiohttp import web

from gridcentric import aio, guest

CONTROL_PATH = "/_gridcentric/"
TOKEN_HEADER = "X-Gridcentric-Token"

# A reference to the clone's join, so that it is not garbage-collected before it ends the process.
_ending: set[asyncio.Future[None]] = set()


def end(report: str) -> None:
    """End this clone by join, soon."""
    _ending.add(asyncio.ensure_future(aio.join(report)))


def stop(limit: int) -> None:
    """A signal has come. The master has probably got it too (Ctrl-C) and ends this clone when nobody needs it any
    more; it ends by itself after `limit` ms."""
    asyncio.get_running_loop().call_later(limit / 1000, end, "stopped")


async def answer(request: web.BaseRequest, token: str) -> web.StreamResponse:
    """Answer a request on a clone's control port."""
    vmid = guest.vmid()
    if request.method == "GET" and request.path == f"{CONTROL_PATH}health":
        return _say(200, {"vmid": vmid})
    if request.method == "POST" and request.path == f"{CONTROL_PATH}join":
        given = request.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(given.encode(errors="replace"), token.encode()):
            return _say(403, {"error": "only the master may ask for this"})
        response = _say(202, {"vmid": vmid})
        await response.prepare(request)
        await response.write_eof()  # send the answer first, because join does not return
        end("drained")
        return response
    return _say(421, {"error": f"this is clone {vmid}; the service is at the master's address"})


def _say(status: int, body: dict[str, Any]) -> web.Response:
    response = web.json_response(body, status=status)
    response.force_close()
    return response
