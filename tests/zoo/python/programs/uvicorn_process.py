"""uvicorn as a separate program on uvloop, asked to clone over HTTP: each clone answers on its own address."""

import os
import signal
import socket
import subprocess

from fastapi import FastAPI
from harness import CLONES, get, python, say, until

from gridcentric import aio, guest

app, visits = FastAPI(), []


@app.get("/")
async def state() -> list[int]:
    visits.append(1)
    return [guest.vmid(), len(visits)]


@app.get("/clone")
async def clone() -> int:
    return await aio.clone(await aio.request_ticket(CLONES, CLONES, 1, 0))


@app.get("/domains")
async def domains() -> list[tuple[int, str]]:
    return [(domain.vmid, domain.ip) for domain in await aio.list_domains()]


if __name__ == "__main__":
    folder, module = os.path.split(__file__)
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port, number = listener.getsockname()[1], listener.fileno()
        options = ["--loop", "uvloop", "--fd", str(number), "--app-dir", folder, "--log-level", "warning"]
        server = subprocess.Popen(python("-m", "uvicorn", *options, f"{module[:-3]}:app"), pass_fds=[number])
    until(lambda: get("127.0.0.1", port) == [0, 1], "uvicorn")
    assert get("127.0.0.1", port, "/clone") == 0
    family = get("127.0.0.1", port, "/domains")
    assert len(family) == 1 + CLONES
    for count in (2, 3):
        for vmid, address in family:
            assert get(address if vmid else "127.0.0.1", port) == [vmid, count]
    server.send_signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    say(f"{CLONES} clones reported")
