"""before_clone(): runs in the caller before any thread is stopped, may be asynchronous in gridcentric.aio, may refuse; and what
logging holds back is flushed before the clone (the process hypervisor, both modes).
"""

from __future__ import annotations

import asyncio
import json
import logging
import logging.handlers
import queue
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from family import clone_all, reports

import gridcentric
from gridcentric import aio, guest


def refusing() -> list[Any]:
    seen: list[Any] = []
    refusals: list[BaseException] = [RuntimeError("not now"), KeyboardInterrupt()]
    first = refusals[0]

    @guest.before_clone
    def before() -> None:
        seen.append(threading.current_thread() is threading.main_thread())
        if refusals:
            raise refusals.pop(0)
        print("printed once")

    guest.before_clone(lambda: seen.append("second"))
    ticket = guest.request_ticket(2, 2, 1, 0)
    with pytest.raises(RuntimeError) as refused:
        guest.clone(ticket)
    with pytest.raises(KeyboardInterrupt):
        guest.clone(ticket)
    assert refused.value is first
    facts = [guest.ticket_info(ticket).status, len(guest.list_domains())]
    if guest.clone(ticket):
        guest.join(json.dumps(seen))
    return [*facts, seen, *reports(ticket)]


def test_a_handler_may_refuse(run: Callable[..., Any]) -> None:
    assert run(refusing) == ["reserved", 1, *[[True, True, True, "second"]] * 3]


def cloning_handler() -> str:
    ticket = guest.request_ticket(1, 1, 1, 0)
    guest.before_clone(lambda: guest.clone(ticket))
    with pytest.raises(gridcentric.CloneFailed, match="running for another clone"):
        guest.clone(ticket)
    return guest.ticket_info(ticket).status


def test_a_handler_may_not_clone(run: Callable[..., Any]) -> None:
    assert run(cloning_handler) == "reserved"


async def awaited() -> list[Any]:
    seen: list[Any] = []
    refusals = [ValueError("no")]

    async def before() -> None:
        await asyncio.sleep(0.01)
        seen.append(asyncio.current_task() is task)
        if refusals:
            raise refusals[0]

    task = asyncio.current_task()
    aio.before_clone(before)
    aio.before_clone(lambda: seen.append("plain"))
    ticket = await aio.request_ticket(1, 1, 1, 0)
    with pytest.raises(ValueError, match="no") as refused:
        await aio.clone(ticket)
    assert refused.value is refusals.pop()
    with pytest.raises(TypeError, match=r"is asynchronous: clone with gridcentric\.aio\.clone"):
        guest.clone(ticket)
    if await aio.clone(ticket):
        await aio.join(json.dumps(seen))
    return [seen, *await asyncio.to_thread(reports, ticket)]


def run_awaited() -> list[Any]:
    return asyncio.run(awaited())


def test_an_asynchronous_handler_is_awaited(run: Callable[..., Any]) -> None:
    assert run(run_awaited) == [[True, True, "plain"]] * 2


def test_what_is_not_a_handler() -> None:
    with pytest.raises(gridcentric.InvalidArgument, match="handler must be a function that takes no argument, not 7"):
        guest.before_clone(7)  # type: ignore[type-var]


def logging_keeps(folder: str) -> list[Any]:
    def handler(name: str) -> logging.Handler:
        made = logging.FileHandler(Path(folder, name))
        made.setFormatter(logging.Formatter("%(message)s"))
        return made

    logger = logging.getLogger("kept")
    logger.setLevel(logging.INFO)
    records: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(records, handler("queue"))
    listener.start()
    logger.addHandler(logging.handlers.QueueHandler(records))
    logger.addHandler(logging.handlers.MemoryHandler(10000, target=handler("memory")))
    logger.addHandler(logging.handlers.MemoryHandler(10000))  # no target yet
    for i in range(2000):
        logger.info("before %d", i)
    vmid, ticket = clone_all(3)
    logger.info("after %d", vmid)
    listener.stop()
    logging.shutdown()
    if vmid:
        guest.join(b"1")
    assert reports(ticket) == [1] * 3
    return [Path(folder, name).read_text().splitlines() for name in ("queue", "memory")]


def test_logging_says_nothing_twice(run: Callable[..., Any], tmp_path: Path) -> None:
    for lines in run(logging_keeps, str(tmp_path)):
        assert lines[:2000] == [f"before {i}" for i in range(2000)]
        assert sorted(lines[2000:]) == [f"after {vmid}" for vmid in range(4)]


# -- ends of inherited connections


async def pooled() -> list[Any]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"answer\n")

    import multiprocessing

    ports, send_port = multiprocessing.Pipe(duplex=False)

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        send_port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    outside = multiprocessing.get_context("fork").Process(target=lambda: asyncio.new_event_loop().run_until_complete(serve()))
    outside.start()
    port = await asyncio.to_thread(ports.recv)
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    ticket = await aio.request_ticket(2, 2, 1, 0)
    vmid = await aio.clone(ticket)
    found = [reader.at_eof() for reader, _ in idle]
    if vmid:
        await aio.join(json.dumps(found))
    clones = await asyncio.to_thread(reports, ticket)
    for reader, writer in idle:
        writer.write(b"question\n")
        assert await reader.readline() == b"answer\n"
        writer.close()
    outside.kill()
    outside.join()
    return [found, clones]


def run_pooled() -> list[Any]:
    return asyncio.run(pooled())


def test_inherited_connections_have_ended_when_clone_returns(run: Callable[..., Any]) -> None:
    assert run(run_pooled) == [[False] * 20, [[True] * 20] * 2]
