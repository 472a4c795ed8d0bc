"""aiohttp, server and client: each clone answers on its own address, with the state it has inherited."""

import asyncio

import aiohttp
from aiohttp import web
from harness import afamily, own_address

from gridcentric import guest


async def main() -> None:
    visits = []

    async def visit(request: web.Request) -> web.Response:
        visits.append(request.query["name"])
        return web.json_response({"vmid": guest.vmid(), "visits": visits})

    app = web.Application()
    app.router.add_get("/", visit)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as client:

        async def get(name: str) -> object:
            async with client.get(f"http://{own_address()}:{port}/", params={"name": name}) as response:
                return await response.json()

        await get("before")

        async def work(vmid: int) -> object:
            await get(f"from {vmid}")
            return await get("again")

        master, clones = await afamily(work)
        for vmid, said in enumerate([master, *clones]):
            assert said == {"vmid": vmid, "visits": ["before", f"from {vmid}", "again"]}, said
    await runner.cleanup()


asyncio.run(main())
