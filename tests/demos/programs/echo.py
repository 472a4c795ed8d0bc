"""Answers each request with who it is: "VMID METHOD BODY". What a POST does, a line with its body, goes to the file that DONE
names."""

import asyncio
import os

from aiohttp import web

from gridcentric import autoscale, guest

PORT = int(os.environ["CHAT_PORT"])


async def answer(request):
    body = await request.text()
    if request.method == "POST":
        file = os.open(os.environ["DONE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{body}\n".encode())
        os.close(file)
    return web.Response(text=f"{guest.vmid()} {request.method} {body or request.path_qs}")


async def main():
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, None, PORT).start()
    autoscale.setup(8080, PORT)
    await asyncio.Event().wait()


asyncio.run(main())
