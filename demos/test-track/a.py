"""Application A of the test track: a Python server that clones itself and asks every clone, on the clone's own address.

GET /           {vmid, state}: the domain that answers, and what it inherited from the master
GET /lap?n=N    clones itself N times. A line of JSON when the call has returned, then one per clone that has answered
GET /end        ends all clones and waits for them -> {ended}

b.js is the same in Node."""

import asyncio
import json
import secrets
import sys
from urllib.parse import parse_qs, urlsplit

from gridcentric import aio, guest

PORT = int(sys.argv[1])  # 0: any free one
STATE = secrets.token_hex(8)  # a clone can only know it by inheritance
tickets = []


async def ask(ip, port):
    while True:
        try:
            reader, writer = await asyncio.open_connection(ip, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
            writer.close()
            return answer
        except (OSError, ValueError):  # a VM's network is there a moment after the VM
            await asyncio.sleep(0.005)


async def answered(domain, port):
    answer = await ask(domain.ip, port)
    if answer != {"vmid": domain.vmid, "state": STATE}:
        raise RuntimeError(f"clone {domain.vmid} answered {answer}")
    return {"vmid": domain.vmid, "ip": domain.ip}


async def lap(n, port):
    ticket = await aio.request_ticket(n, n, 1, 10_000)
    if await aio.clone(ticket) > 0:
        return  # a clone: nobody is connected to it yet
    tickets.append(ticket)
    clones = [domain for domain in await aio.list_domains() if domain.ticket == ticket and domain.vmid > 0]
    yield {"cloned": len(clones)}
    for one in asyncio.as_completed([answered(domain, port) for domain in clones]):
        yield await one


async def end():
    ended = 0
    while tickets:
        ticket = tickets.pop()
        for domain in await aio.list_domains():
            if domain.ticket == ticket and domain.vmid > 0:
                await aio.kill(domain.vmid)
        ended += len(await aio.wait(ticket, -1, forget=True))
    return {"ended": ended}


async def answers(url, port):
    if url.path == "/lap":
        async for line in lap(int(parse_qs(url.query)["n"][0]), port):
            yield line
    elif url.path == "/end":
        yield await end()
    else:
        yield {"vmid": guest.vmid(), "state": STATE}


async def serve(reader, writer):
    try:
        url = urlsplit((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        try:
            async for line in answers(url, writer.get_extra_info("sockname")[1]):
                writer.write(json.dumps(line).encode() + b"\n")
                await writer.drain()
        except (guest.Error, RuntimeError) as error:
            writer.write(json.dumps({"error": str(error)}).encode() + b"\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has gone, or stayed with the master
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "0.0.0.0" if PORT else "127.0.0.1", PORT, backlog=512)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
