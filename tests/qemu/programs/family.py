"""The master makes two clones, the one of an even number another: each says who it is and what its worker, which never called
clone(), saw. asyncio goes on in all; open calls of the master fail in the clones."""

import asyncio
import json
import random
import subprocess
import sys
import threading
from pathlib import Path

from gridcentric import InterruptedByClone, NoSuchTicket, aio, guest

worker = subprocess.Popen(
    [sys.executable, str(Path(__file__).with_name("worker.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)
assert worker.stdin and worker.stdout
assert worker.stdout.readline() == "ready 0\n"

handled: list[int] = []
guest.on_clone(handled.append)
ticks = 0


async def tick() -> None:
    global ticks
    while True:
        ticks += 1
        await asyncio.sleep(0.01)


interrupted = threading.Event()


def wait_in_vain() -> None:
    """Nobody gives it what it asks for: the master cancels it later, in the clones the cloning ends it."""
    try:
        guest.request_ticket(16, 16, 1, -1)
    except InterruptedByClone:
        interrupted.set()
    except NoSuchTicket:
        pass


def report(before: int) -> str:
    assert worker.stdin and worker.stdout
    worker.stdin.close()
    own = {"vmid": guest.vmid(), "ip": guest.my_ip(), "handled": handled, "ticked": ticks > before, "random": random.random()}
    return json.dumps(own | {"interrupted": interrupted.is_set(), "worker": json.loads(worker.stdout.read())})


async def main() -> None:
    asyncio.get_running_loop().create_task(tick())
    ticket = await aio.request_ticket(2, 2, 1, 1000)
    threading.Thread(target=wait_in_vain, daemon=True).start()
    while len(await aio.list_tickets()) < 3:  # that call is open on the host
        await asyncio.sleep(0.01)
    before = ticks
    vmid = await aio.clone(ticket)
    await asyncio.sleep(0.05)
    if vmid:
        assert await asyncio.to_thread(interrupted.wait, 60)
        if vmid % 2 == 0:
            mine = await aio.request_ticket(1, 1, 1, 60_000)
            before = ticks
            if await aio.clone(mine):
                await asyncio.sleep(0.05)
                await aio.join(report(before))
            (result,) = await aio.wait(mine)
            print(f"my clone {result.how}", flush=True)
            await aio.join(json.dumps([json.loads(result.report or b""), json.loads(report(before))]))
        await aio.join(report(before))
    (vain,) = [t.id for t in await aio.list_tickets() if t.status == "pending"]
    await aio.release_ticket(vain)
    for result in await aio.wait(ticket):
        print(result.vmid, result.how, (result.report or b"").decode(), flush=True)
    print("0 master", report(before), flush=True)


asyncio.run(main())
