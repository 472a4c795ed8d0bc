"""FastAPI under uvicorn in a thread, with endpoints in a thread pool: master and clones answer from outside."""

import threading

import uvicorn
from fastapi import FastAPI
from harness import background, family, get, until

from gridcentric import guest

app, visits, lock = FastAPI(), [], threading.Lock()


@app.get("/")
async def state() -> dict[str, object]:
    return {"vmid": guest.vmid(), "visits": visits}


@app.get("/visit/{name}")
def visit(name: str) -> int:  # not async: runs in a thread of anyio's pool
    with lock:
        visits.append(name)
    return len(visits)


server = uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=0, log_level="warning", access_log=False))
thread = background(server.run)
until(lambda: server.started, "uvicorn")
port = server.servers[0].sockets[0].getsockname()[1]
assert get("127.0.0.1", port, "/visit/before") == 1


def see(address: str, vmid: int) -> None:
    assert get(address, port, f"/visit/{vmid}") == 2
    assert get(address, port) == {"vmid": vmid, "visits": ["before", str(vmid)]}


family(lambda vmid: None, see)
server.should_exit = True
thread.join()  # a thread in uvloop that asks for a Python that has just ended crashes
