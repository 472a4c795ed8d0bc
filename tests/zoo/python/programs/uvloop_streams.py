"""uvloop: timers, a server, a connection to it and threads of an executor go on in each clone."""

import asyncio

import uvloop
from harness import afamily, own_address

from gridcentric import guest


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"%d %s" % (guest.vmid(), data))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fired = loop.create_future()
    loop.call_later(0.3, fired.set_result, "fired")
    thread = loop.run_in_executor(None, sum, range(1_000_000))

    async def work(vmid: int) -> list[str]:
        writer.write(b"inherited\n")
        inherited = await reader.readline()
        own_reader, own_writer = await asyncio.open_connection(own_address(), port)
        own_writer.write(b"own\n")
        assert await thread == 499999500000
        return [inherited.decode(), (await own_reader.readline()).decode(), await fired]

    master, clones = await afamily(work)
    assert master == ["0 inherited\n", "0 own\n", "fired"], master
    assert clones == [[f"{vmid} inherited\n", f"{vmid} own\n", "fired"] for vmid in (1, 2, 3)], clones


uvloop.run(main())
