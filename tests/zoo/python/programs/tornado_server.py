"""Tornado: its server, its client and its periodic callbacks go on in each clone."""

import asyncio

from harness import afamily, own_address
from tornado import httpclient, httpserver, ioloop, netutil, web

from gridcentric import guest

ticks = [0]


class Who(web.RequestHandler):
    async def get(self) -> None:
        await asyncio.sleep(0.01)
        self.write(str(guest.vmid()))


def tick() -> None:
    ticks[0] += 1


async def main() -> None:
    sockets = netutil.bind_sockets(0, "0.0.0.0")
    server = httpserver.HTTPServer(web.Application([("/", Who)]))
    server.add_sockets(sockets)
    ioloop.PeriodicCallback(tick, 5).start()

    async def work(vmid: int) -> int:
        before = ticks[0]
        while ticks[0] < before + 5:
            await asyncio.sleep(0.001)
        answer = await httpclient.AsyncHTTPClient().fetch(f"http://{own_address()}:{sockets[0].getsockname()[1]}/")
        return int(answer.body)

    master, clones = await afamily(work)
    assert [master, *clones] == [0, 1, 2, 3], (master, clones)


asyncio.run(main())
