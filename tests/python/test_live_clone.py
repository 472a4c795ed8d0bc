"""Python after a real clone (the process hypervisor, both modes): every generator is reseeded, threads and event loops keep
running, what CPython remembers of its process is right.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from family import clone_all, reports

import gridcentric
from gridcentric import aio, guest

# -- uniqueness


def draw() -> dict[str, Any]:
    """A draw from each predefined generator."""
    import random
    import secrets
    import sqlite3
    import ssl
    import tempfile
    import uuid

    drawn: dict[str, Any] = {
        "random": random.random(),
        "SystemRandom": random.SystemRandom().random(),
        "secrets": secrets.token_hex(16),
        "urandom": os.urandom(16).hex(),
        "ssl": ssl.RAND_bytes(16).hex(),
        "uuid1": str(uuid.uuid1()),
        "uuid4": str(uuid.uuid4()),
        "tempfile": next(tempfile._get_candidate_names()),  # type: ignore[attr-defined]
        "sqlite3": sqlite3.connect(":memory:").execute("select hex(randomblob(16))").fetchone()[0],
    }
    if "numpy" in sys.modules:
        import numpy

        drawn["numpy"] = float(numpy.random.random())
    return drawn


def draw_in_clones(count: int) -> list[dict[str, Any]]:
    try:
        import numpy.random  # noqa: F401
    except ImportError:
        print("numpy is not installed: its generator is not tested")
    draw()  # every generator has been seeded in the master
    vmid, ticket = clone_all(count)
    if vmid:
        guest.join(json.dumps(draw()))
    return [draw(), *reports(ticket)]


def test_32_clones_draw_differently(run: Callable[..., Any]) -> None:
    drawn = run(draw_in_clones, 32)
    assert len(drawn) == 33
    for generator in drawn[0]:
        assert len({clone[generator] for clone in drawn}) == 33, generator


def draw_in_another_thread(count: int) -> list[float]:
    """A thread that never stops drawing: its first draw in a clone must differ from all others."""
    import random

    first: dict[int, float] = {}
    guest.vmid()

    def draw_on() -> None:
        while True:
            me = guest.vmid()  # asked first: the draws that follow are this domain's
            first.setdefault(me, random.random())

    threading.Thread(target=draw_on, daemon=True).start()
    vmid, ticket = clone_all(count)
    if vmid:
        while vmid not in first:
            os.sched_yield()
        guest.join(json.dumps(first[vmid]))
    return reports(ticket)


def test_other_threads_draw_differently(run: Callable[..., Any]) -> None:
    drawn = run(draw_in_another_thread, 16)
    assert len(set(drawn)) == len(drawn) == 16


# -- handlers


def handlers() -> list[Any]:
    seen: list[Any] = []
    lines: list[str] = []
    sys.unraisablehook = lambda what: lines.append(f"{what.exc_value}")

    @guest.on_clone
    def first(vmid: int) -> None:
        seen.append(("first", vmid, guest.vmid()))

    @guest.on_clone
    def broken(vmid: int) -> None:
        raise ValueError(f"broken in {vmid}")

    guest.on_clone(lambda vmid: seen.append(("last", vmid, threading.current_thread() is threading.main_thread())))
    vmid, ticket = clone_all(2)
    if vmid:
        guest.join(json.dumps([vmid, guest.ismaster(), guest.my_ip(), seen, lines]))
    return [[0, guest.ismaster(), guest.my_ip(), seen, lines], *reports(ticket)]


def test_on_clone(run: Callable[..., Any]) -> None:
    master, *clones = run(handlers)
    assert master[1] is True and not master[3] and not master[4]
    for vmid, is_master, _, seen, lines in clones:
        assert not is_master
        assert seen == [["first", vmid, vmid], ["last", vmid, True]]
        assert lines == [f"broken in {vmid}"]
    assert len({ip for _, _, ip, _, _ in [master, *clones]}) == 3


# -- threads and what CPython remembers


def threads() -> list[Any]:
    import concurrent.futures
    import queue

    questions: queue.Queue[str] = queue.Queue()
    answers: queue.Queue[Any] = queue.Queue()

    def worker() -> None:
        while True:
            question = questions.get()
            answers.put((question, threading.get_native_id(), threading.current_thread().native_id))

    thread = threading.Thread(target=worker, daemon=True)
    thread.start()
    questions.put("before")
    answers.get()
    pool = concurrent.futures.ThreadPoolExecutor(2)
    assert pool.submit(lambda: 1).result() == 1
    print("written once")  # buffered: standard output is a pipe here
    vmid, ticket = clone_all(3)
    questions.put("after")
    question, native_id, remembered = answers.get()
    facts = {
        "worker": question == "after" and native_id == remembered == thread.native_id,
        "main": threading.main_thread().native_id == threading.get_native_id(),
        "pool": pool.submit(os.getpid).result() == os.getpid(),
        "count": threading.active_count(),
    }
    if vmid:
        guest.join(json.dumps(facts))
    return [facts, *reports(ticket)]


def test_threads_go_on(run: Callable[..., Any]) -> None:
    everyone = run(threads)
    assert everyone == [{"worker": True, "main": True, "pool": True, "count": 3}] * 4


def open_call() -> list[str]:
    """Another thread's open call continues in the caller and is interrupted in the clone."""
    everything = guest.request_ticket(2**31 - 1, 1, 1, 0)
    guest.release_ticket(everything)
    ticket = guest.request_ticket(1, 1, 1, 0)
    rest = guest.request_ticket(2**31 - 1, 1, 1, 0)
    ended: list[str] = []

    def wait() -> None:
        try:
            guest.request_ticket(1, 1, 1, -1)
            ended.append("granted")
        except gridcentric.Error as error:
            ended.append(error.code)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert waiter.native_id is not None
    while not Path(f"/proc/self/task/{waiter.native_id}/syscall").read_text().startswith(("7 ", "271 ", "73 ")):
        os.sched_yield()
    if guest.clone(ticket):
        waiter.join()
        guest.join(json.dumps(ended))
    guest.release_ticket(rest)
    waiter.join()
    return [*ended, *reports(ticket)[0]]


def test_open_call(run: Callable[..., Any]) -> None:
    assert run(open_call) == ["granted", "interrupted_by_clone"]


# -- asyncio


async def loop_goes_on() -> list[Any]:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            ticks += 1

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{await aio.vmid()}\n".encode())
        await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    ticker = asyncio.ensure_future(tick())
    server = await asyncio.start_server(answer, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    ticket = await aio.request_ticket(3, 3, 1, 0)
    vmid = await aio.clone(ticket)
    assert asyncio.get_running_loop() is loop and asyncio.current_task() is not None
    before = ticks
    while ticks < before + 3:
        await asyncio.sleep(0.001)
    # Executor threads from before the clone and new ones both work.
    assert await loop.run_in_executor(None, os.getpid) == os.getpid()
    await aio.sync(ticket if vmid == 0 else None)
    if vmid:
        await aio.sync()  # until the master has asked everyone
        ticker.cancel()
        await aio.join(json.dumps([vmid]))
    answers = []
    for domain in await aio.list_domains():
        reader, writer = await asyncio.open_connection(domain.ip, port)
        answers.append([domain.vmid, int(await reader.readline())])
        writer.close()
    await aio.sync(ticket)
    ended = await aio.wait(ticket)
    ticker.cancel()
    server.close()
    return [answers, [result.how for result in ended]]


def run_loop_goes_on() -> list[Any]:
    return asyncio.run(loop_goes_on())


def run_loop_goes_on_uvloop() -> list[Any]:
    import uvloop  # type: ignore[import-not-found,unused-ignore]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # type: ignore[attr-defined,unused-ignore]
        result: list[Any] = runner.run(loop_goes_on())
        return result


EVERYONE = [[[vmid, vmid] for vmid in range(4)], ["joined"] * 3]


def test_asyncio_goes_on(run: Callable[..., Any]) -> None:
    assert run(run_loop_goes_on) == EVERYONE


def test_uvloop_goes_on(run: Callable[..., Any]) -> None:
    pytest.importorskip("uvloop", reason="uvloop is optional")
    if not hasattr(asyncio, "Runner"):
        pytest.skip("asyncio.Runner is of Python 3.11")
    assert run(run_loop_goes_on_uvloop) == EVERYONE


# -- processes


def children() -> list[Any]:
    import multiprocessing

    context = multiprocessing.get_context("fork")
    gate, go = os.pipe()
    child = context.Process(target=os.read, args=(gate, 1))
    child.start()
    vmid, ticket = clone_all(1)
    if vmid:
        mine = multiprocessing.active_children()
        again = context.Process(target=int)
        again.start()
        again.join()
        guest.join(json.dumps([len(mine), again.exitcode]))
    found = [len(multiprocessing.active_children()), *reports(ticket)[0]]
    os.write(go, b"x")
    child.join()
    return [*found, child.exitcode]


def test_children_stay_the_masters(run: Callable[..., Any]) -> None:
    assert run(children) == [1, 0, 0, 0]
