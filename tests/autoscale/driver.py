"""The same as driver.js: a program that scales itself, driven by the tests."""

import asyncio
import json
import re
import sys

from aiohttp import web

from gridcentric import autoscale

given = json.loads(sys.argv[1])
now = 0.0
log, events = [], []


def broken(clones, user):
    raise RuntimeError("no idea")


functions = {
    "oldest": lambda clones, user: clones[0],
    "vmid": lambda clones, user: clones[-1]["vmid"],
    "broken": broken,
    "wrong": lambda clones, user: 99,
}


asking = {
    "parity": lambda request: {"/even": "even", "/odd": "odd"}.get(request.path),
    "broken": lambda request: broken(None, None),
    "yes": lambda request: True,
    "no": lambda request: "yes",
}


async def main():
    global now

    async def answer(request):
        return web.Response(text="master")

    app = web.ServerRunner(web.Server(answer))
    await app.setup()
    await web.TCPSite(app, "127.0.0.1", given["appPort"]).start()
    options = {re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), k): v for k, v in given["options"].items()}
    if isinstance(options.get("strategy"), dict):
        options["strategy"] = functions[options["strategy"]["function"]]
    for name in ("users", "dashboard"):
        if isinstance(options.get(name), dict) and "function" in options[name]:
            options[name] = asking[options[name]["function"]]
    chances = iter(given["chances"])
    defaults = {"host": "127.0.0.1", "interval": 2**31 - 1, "signals": False}
    scaler = autoscale.setup(
        given["listenPort"], given["appPort"], **{**defaults, **options},
        clock=lambda: now, random=lambda: next(chances, 0), log=log.append, on_scale=events.append,
    )  # fmt: skip

    closing = None

    def say():
        closed = bool(closing and closing.done())
        print(json.dumps({**scaler.state(), "closed": closed, "log": log, "events": events}), flush=True)
        log.clear()
        events.clear()

    await scaler.ready
    say()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        command = json.loads(line)
        if command["do"] == "tick":
            await scaler.tick()
        elif command["do"] == "advance":
            now += command["ms"]
        elif command["do"] == "start_close":
            closing = scaler.close()
        elif command["do"] == "close":
            await scaler.close()
        say()
        if command["do"] == "close":
            await app.cleanup()
            return


asyncio.run(main())
