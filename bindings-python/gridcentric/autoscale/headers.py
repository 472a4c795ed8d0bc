"""Which headers of a request are forwarded to a clone, which of its response to the client, and what the proxy adds.

RFC 9110, section 7.6; X-Forwarded-*. Knows no clones or users. bindings-node/lib/autoscale/headers.js is its twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from aiohttp import web
from multidict import CIMultiDict

# Hop-by-hop headers, whether or not Connection names them. The proxy's own server answers Expect.
HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "http2-settings", "expect",
}  # fmt: skip
# What a front proxy says about the client. Anybody can send these: they are forwarded only from a trusted front proxy.
OF_A_FRONT = {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip"}


def fault(request: web.BaseRequest) -> Optional[str]:
    """Why a request is refused as malformed; None if it is not."""
    if not request.raw_path.startswith("/"):
        return f"the path is '{request.raw_path[:80]}', expected one that begins with /"
    hosts = len(request.headers.getall("Host", []))
    return f"there are {hosts} Host headers, expected one" if hosts > 1 else None


def wants_websocket(request: web.BaseRequest) -> bool:
    """Whether the request asks for a WebSocket. Other upgrades are ignored (RFC 9110, section 7.8)."""
    return request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket"


def address_of(request: web.BaseRequest, trusted: bool) -> str:
    """The client's address: what a trusted front proxy says, otherwise the connection's."""
    said = request.headers.get("X-Forwarded-For", "").split(",")[-1].strip() if trusted else ""
    return said or request.remote or ""


def towards_clone(request: web.BaseRequest, trusted: bool) -> CIMultiDict[str]:
    """The headers of a request, as sent to a clone."""
    headers = _end_to_end(request.headers, OF_A_FRONT)
    own = request.transport.get_extra_info("sockname") if request.transport else None

    def said(name: str) -> Optional[str]:
        return request.headers.get(name) if trusted else None

    before, peer = said("X-Forwarded-For"), request.remote or ""
    headers["X-Forwarded-For"] = f"{before}, {peer}" if before else peer
    headers["X-Forwarded-Host"] = said("X-Forwarded-Host") or request.headers.get("Host") or ""
    headers["X-Forwarded-Port"] = said("X-Forwarded-Port") or (str(own[1]) if own else "")
    headers["X-Forwarded-Proto"] = said("X-Forwarded-Proto") or request.scheme
    headers.extend((name, request.headers[name]) for name in ("Forwarded", "X-Real-IP") if said(name))
    return headers


def towards_client(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The headers of a clone's response, as sent to the client."""
    return _end_to_end(headers, {"x-gridcentric-vmid"})


def _end_to_end(headers: Any, dropped: set[str]) -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall("Connection", []) for name in value.split(",")}
    ends_here = HOP_BY_HOP | named | dropped
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in ends_here)
