"""The Python server that is cloned and measured; the same arguments and requests as server.js, and /tidy?how=collect,freeze."""

import asyncio
import gc
import itertools
import json
import os
import sys
import time
from urllib.parse import parse_qs, urlsplit

from gridcentric import aio, guest

STATE = f"state-{os.getpid()}"
HEAP = [[f"{i}/{j} ".ljust(1000, "x") for j in range(1024)] for i in range(int(sys.argv[1]) if len(sys.argv) > 1 else 0)]
OBJECTS = [{"id": i, "name": f"entry {i}", "tags": [i % 7]} for i in range(int(sys.argv[2]) if len(sys.argv) > 2 else 0)]
TICKETS = []
REQUESTS = itertools.count(1)


def look_up() -> str:
    """Another object for each request, far from the last one."""
    return OBJECTS[next(REQUESTS) * 7919 % len(OBJECTS)]["name"] if OBJECTS else ""


async def answer(target: str) -> dict:
    url = urlsplit(target)
    if url.path == "/clone":
        n = int(parse_qs(url.query).get("n", ["1"])[0])
        t0 = time.perf_counter()
        ticket = await aio.request_ticket(n, n, 1, 0)
        t1 = time.perf_counter()
        vmid = await aio.clone(ticket)
        t2 = time.perf_counter()
        clones = []
        if vmid == 0:
            TICKETS.append(ticket)
            clones = [{"vmid": d.vmid, "ip": d.ip} for d in await aio.list_domains() if d.vmid > 0]
        return {"vmid": vmid, "ticket_ms": (t1 - t0) * 1e3, "clone_ms": (t2 - t1) * 1e3, "clones": clones}
    if url.path == "/prepare":
        t0 = time.perf_counter()
        return {"mib": await aio.prepare(), "ms": (time.perf_counter() - t0) * 1e3}
    if url.path == "/tidy":
        for how in parse_qs(url.query).get("how", ["collect"])[0].split(","):
            getattr(gc, how)()
        return {"frozen": gc.get_freeze_count()}
    if url.path == "/fork":
        t0 = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        ms = (time.perf_counter() - t0) * 1e3
        os.waitpid(pid, 0)
        return {"ms": ms}
    if url.path == "/end":
        t0 = time.perf_counter()
        for d in await aio.list_domains():
            if d.vmid > 0:
                await aio.kill(d.vmid)
        while TICKETS:
            await aio.wait(TICKETS.pop(), -1)
        return {"ms": (time.perf_counter() - t0) * 1e3}
    return {"vmid": guest.vmid(), "ip": guest.my_ip(), "state": STATE, "heap": len(HEAP), "entry": look_up()}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            try:
                body, status = json.dumps(await answer(head.split()[1].decode())).encode(), b"200 OK"
            except guest.Error as error:
                body, status = json.dumps({"error": str(error)}).encode(), b"500 Error"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "0.0.0.0", 0, backlog=512)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
