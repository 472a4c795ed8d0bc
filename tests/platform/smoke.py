"""A Python program that clones itself into three, with what Python programs have: threads, locks, servers, open files, an
event loop, random numbers. See README.md. It must not know what runs it."""

import asyncio
import json
import os
import queue
import random
import secrets
import socket
import ssl
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

from gridcentric import aio, guest

CLONES = 3
HANG_GUARD_S = 60


class Smoke:
    def __init__(self):
        self.passed = 0
        self.mode = None

    def ok(self, what):
        self.passed += 1
        print("ok", what, flush=True)


def equal(got, expected, what):
    if got != expected:
        raise SystemExit(f"{what}: got {got!r}, expected {expected!r}")


def draws():
    return [
        *(str(random.random()), str(uuid.uuid4()), secrets.token_hex(8)),
        *(ssl.RAND_bytes(8).hex(), os.urandom(8).hex(), str(uuid.uuid1())),
    ]


def ask(address, line):
    with socket.create_connection(address, HANG_GUARD_S) as connection:
        connection.sendall(line + b"\n")
        return connection.makefile("rb").readline().decode().strip()


class Busy:
    """Threads that are in the middle of something: one serves, one works off a queue, one ticks, two fight for a lock."""

    def __init__(self):
        self.visits, self.ticks, self.turns = 40, 0, [0, 0]
        self.lock, self.over, self.stopping = threading.Lock(), threading.Event(), threading.Event()
        self.tasks, self.done = queue.Queue(), queue.Queue()
        self.listener = socket.create_server(("0.0.0.0", 0))
        self.port = self.listener.getsockname()[1]
        works = [self.serve, self.work, self.tick, lambda: self.fight(0), lambda: self.fight(1)]
        self.threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self.threads:
            thread.start()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            with connection:
                line = connection.makefile("rb").readline()
                self.visits += 1
                connection.sendall(b"%d %d\n" % (guest.vmid(), self.visits))
            if line == b"stop\n":
                return
            if line == b"end\n":
                self.over.set()

    def work(self):
        for task in iter(self.tasks.get, None):
            self.done.put(task * 2)

    def tick(self):
        while not self.stopping.wait(0.005):
            self.ticks += 1

    def fight(self, who):
        while not self.stopping.is_set():
            with self.lock:
                self.turns[who] += 1
                time.sleep(0.0005)

    def go_on(self):
        """Every thread goes on from here; how many tasks were done since the start."""
        ticks, turns = self.ticks, list(self.turns)
        self.tasks.put(21)
        equal(self.done.get(timeout=HANG_GUARD_S), 42, "the queue's thread")
        until = time.monotonic() + HANG_GUARD_S
        while self.ticks <= ticks or any(now <= then for now, then in zip(self.turns, turns)):
            if time.monotonic() > until:
                raise SystemExit(f"threads stand still: {self.ticks} ticks of {ticks}, {self.turns} turns of {turns}")
            time.sleep(0.001)

    def stop(self):
        self.stopping.set()
        self.tasks.put(None)
        ask(("127.0.0.1", self.port), b"stop")
        for thread in self.threads:
            thread.join(HANG_GUARD_S)
            equal(thread.is_alive(), False, "a thread that was told to stop runs")
        self.listener.close()


def threads_round(smoke, file):
    state = {n: f"value {n}" for n in range(10000)}
    busy = Busy()
    busy.go_on()
    file.seek(4)
    pid, handled = os.getpid(), []
    handler = guest.on_clone(handled.append)
    draws()

    ticket = guest.request_ticket(CLONES, CLONES, 1, 10000)
    vmid = guest.clone(ticket)
    busy.go_on()
    own = {
        "vmid": guest.vmid(), "ip": guest.my_ip(), "master": guest.ismaster(), "same pid": os.getpid() == pid,
        "state": state[9999], "read": file.read(4), "handled": [handled[-1]] if vmid else [], "draws": draws(),
    }  # fmt: skip
    if vmid:
        guest.sync()
        if not busy.over.wait(HANG_GUARD_S):
            raise SystemExit("nobody has asked this clone to end")
        own["visits"] = busy.visits
        guest.join(json.dumps(own))

    guest.sync(ticket, 60000)
    domains = [one for one in guest.list_domains() if one.ticket == ticket and one.vmid]
    equal(len(domains), CLONES, "clones")
    for one in domains:
        equal(ask((one.ip, busy.port), b"who"), f"{one.vmid} 41", f"what {one.ip} answers")
    equal(ask(("127.0.0.1", busy.port), b"who"), "0 41", "what the master answers")
    for one in domains:
        ask((one.ip, busy.port), b"end")
    smoke.ok("servers on addresses of their own")
    ends = guest.wait(ticket, 60000)
    equal([one.how for one in ends], ["joined"] * CLONES, "how they ended")
    clones = [json.loads(one.report) for one in ends]
    smoke.ok("barrier, join and wait")

    for one, domain in zip(clones, domains):
        equal((one["vmid"], one["ip"], one["master"]), (domain.vmid, domain.ip, False), "who a clone is")
        equal((one["state"], one["read"], one["visits"]), ("value 9999", "efgh", 42), "what a clone has")
        equal(one["handled"], [domain.vmid], "what its handler was given")
    equal((own["master"], own["read"]), (True, "efgh"), "what the master has")
    smoke.ok("identity, memory, files and handlers")
    smoke.ok("threads, queues and locks")  # of go_on(), in each
    drawn = [number for one in (own, *clones) for number in one["draws"]]
    equal(len(set(drawn)), len(drawn), f"different numbers among {sorted(drawn)}")
    smoke.ok("random numbers")
    smoke.mode = "pidns" if all(one["same pid"] for one in clones) else "plain"
    busy.stop()
    del handler


async def asyncio_round(smoke):
    loop, struck, ticks = asyncio.get_running_loop(), asyncio.Event(), 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    async def answer_one(reader, writer):
        await reader.readline()
        writer.write(b"%d\n" % guest.vmid())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        asked.set()

    asked = asyncio.Event()
    server = await asyncio.start_server(answer_one, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    ticking = asyncio.ensure_future(tick())
    loop.call_later(0.15, struck.set)
    ticket = await aio.request_ticket(CLONES, CLONES, 1, 10000)
    vmid = await aio.clone(ticket)
    then = ticks
    await asyncio.wait_for(struck.wait(), HANG_GUARD_S)
    while ticks <= then:
        await asyncio.sleep(0.001)
    looked_up = await loop.run_in_executor(None, socket.gethostbyname, "localhost")
    if vmid:
        await asyncio.wait_for(asked.wait(), HANG_GUARD_S)
        await aio.join(looked_up)
    for one in [one for one in await aio.list_domains() if one.ticket == ticket and one.vmid]:
        answer = await loop.run_in_executor(None, ask, (one.ip, port), b"who")
        equal(answer, str(one.vmid), f"what the asyncio server at {one.ip} answers")
    smoke.ok("asyncio servers on addresses of their own")
    ends = await aio.wait(ticket, 60000)
    equal([one.report for one in ends], [b"127.0.0.1"] * CLONES, "what the clones looked up")
    smoke.ok("the event loop, its timers and its executor")
    ticking.cancel()
    server.close()
    await server.wait_closed()


def main():
    if os.environ.get("SMOKE_UVLOOP"):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    smoke = Smoke()
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        with tempfile.NamedTemporaryFile("w+") as named:
            named.write("abcdefgh")
            named.flush()
            with Path(named.name).open() as file:
                threads_round(smoke, file)
        asyncio.run(asyncio_round(smoke))
    print("mode", smoke.mode)
    print(smoke.passed, "passed")


if __name__ == "__main__":
    main()
