"""Which headers of a request are forwarded to a clone, which of its response to the client, and what the proxy adds.

RFC 9110, section 7.6; X-Forwarded-*. Knows no clones or users. bindings-node/lib/autoscale/headers.js is its twin.
"""

from __future__ import annotations

import re
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
_NOT_TO_CLONE = frozenset(HOP_BY_HOP | OF_A_FRONT)
_NOT_TO_CLIENT = frozenset(HOP_BY_HOP | {"x-gridcentric-vmid"})
# Whatever Connection names, these stay: where a body ends must not be for a client to hide from the clone.
NEVER_NAMED = {"content-length", "host"}
HOST = re.compile(r"[\w.~%!$&'()*+,;=:[\]-]*", re.ASCII)


def fault(request: web.BaseRequest) -> Optional[str]:
    """Why a request is refused as malformed; None if it is not."""
    headers, version = request.headers, f"HTTP/{request.version.major}.{request.version.minor}"
    if not request.raw_path.startswith("/"):
        return f"the path is '{request.raw_path[:80]}', expected one that begins with /"
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        return f"the version is {version}, expected HTTP/1.1 or HTTP/1.0"
    hosts = headers.getall("Host", [""])
    if len(hosts) > 1:
        return f"there are {len(hosts)} Host headers, expected one"
    if not HOST.fullmatch(hosts[0]):
        return f"the Host is '{hosts[0][:80]}', expected a name or an address, and a port"
    coding = ", ".join(headers.getall("Transfer-Encoding", []))
    if coding and (coding.lower() != "chunked" or version == "HTTP/1.0"):
        return f"the Transfer-Encoding is '{coding[:80]}' in {version}, expected chunked in HTTP/1.1"
    if (coding or request.content_length) and wants_websocket(request):
        return "the request for a WebSocket has a body, expected none"
    return None


def wants_websocket(request: web.BaseRequest) -> bool:
    """Whether the request asks for a WebSocket. Other upgrades are ignored (RFC 9110, section 7.8)."""
    return request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket"


def address_of(request: web.BaseRequest, trusted: bool) -> str:
    """The client's address: what a trusted front proxy says, otherwise the connection's."""
    said = request.headers.get("X-Forwarded-For", "").split(",")[-1].strip() if trusted else ""
    return said or request.remote or ""


def towards_clone(request: web.BaseRequest, trusted: bool) -> CIMultiDict[str]:
    """The headers of a request, as sent to a clone."""
    headers = _end_to_end(request.headers, _NOT_TO_CLONE)
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
    return _end_to_end(headers, _NOT_TO_CLIENT)


def _end_to_end(headers: Any, dropped: frozenset[str]) -> CIMultiDict[str]:
    """dropped: in lower case, those of one hop among them."""
    if "Connection" in headers:
        named = {name.strip().lower() for value in headers.getall("Connection") for name in value.split(",")}
        dropped |= named - NEVER_NAMED
    return CIMultiDict([header for header in headers.items() if header[0].lower() not in dropped])
