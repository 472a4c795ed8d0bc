"""The state of a Python program's libraries after a real clone (the process hypervisor, both modes): pools of threads and
processes, numpy, uvloop, a database in a file.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from family import HANG_GUARD_S, clone_all, reports

from gridcentric import aio, guest

# -- pools


def pool_at_work() -> list[Any]:
    """A pool's running work, queued work and work submitted after the clone: each is done once in each domain."""
    import concurrent.futures

    gate = threading.Event()
    started = threading.Barrier(5)

    def work(number: int) -> int:
        if number < 4:
            started.wait()
        gate.wait()
        return number + 100 * guest.vmid()

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(work, number) for number in range(8)]
        started.wait()  # four are running, four are in the queue
        cancelled = pool.submit(work, 8)
        assert cancelled.cancel()
        vmid, ticket = clone_all(3)
        futures.append(pool.submit(work, 9))
        gate.set()
        concurrent.futures.wait(futures)
        done = [cancelled.cancelled(), *(future.result() for future in futures)]
    if vmid:
        guest.join(json.dumps(done))
    return [done, *reports(ticket)]


def test_a_pool_goes_on(run: Callable[..., Any]) -> None:
    numbers = [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert run(pool_at_work) == [[True, *(number + 100 * vmid for number in numbers)] for vmid in range(4)]


def process_pool() -> list[Any]:
    """A process pool stays with the master; a clone makes a new one."""
    import concurrent.futures
    import multiprocessing

    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
        vmid, ticket = clone_all(2)
        if vmid:
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as own:
                guest.join(json.dumps(list(own.map(abs, [-vmid, -7]))))
        return [list(pool.map(abs, [-5, -6])), *reports(ticket)]


def test_a_pool_of_processes_stays_the_masters(run: Callable[..., Any]) -> None:
    assert run(process_pool) == [[5, 6], [1, 7], [2, 7]]


def inherited_process_pool() -> list[Any]:
    """A clone that still uses the master's pool gets an error at once, and the master's children live on."""
    import concurrent.futures
    import multiprocessing

    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
        workers = list(pool._processes.values())
        vmid, ticket = clone_all(2)
        if vmid:
            try:
                answer = repr(pool.submit(abs, -3).result())
            except concurrent.futures.process.BrokenProcessPool:
                answer = "broken"
            for worker in workers:
                worker.kill()
            guest.join(json.dumps([answer, [worker.exitcode for worker in workers]]))
        said = reports(ticket)
        return [list(pool.map(abs, [-5, -6])), *said]


def test_a_clone_that_asks_the_masters_pool(run: Callable[..., Any]) -> None:
    assert run(inherited_process_pool) == [[5, 6], *[["broken", [-9, -9]]] * 2]


# -- numpy


def numpy_at_work() -> list[Any]:
    """numpy's own threads, and a generator of the program that a handler recreates."""
    import numpy

    generator = numpy.random.default_rng(1)

    @guest.on_clone
    def reseed(_: int) -> None:
        nonlocal generator
        generator = numpy.random.default_rng()

    left = numpy.arange(250_000.0).reshape(500, 500) / 250_000
    product = left @ left  # its threads have been started where it has some
    repeated = numpy.random.default_rng(7)
    vmid, ticket = clone_all(3)
    facts = [bool(numpy.allclose(left @ left, product)), repeated.random(), generator.random(), numpy.random.random()]
    if vmid:
        guest.join(json.dumps(facts))
    return [facts, *reports(ticket)]


def test_numpy(run: Callable[..., Any]) -> None:
    pytest.importorskip("numpy", reason="numpy is optional")
    right, repeated, reseeded, of_all = zip(*run(numpy_at_work))
    assert all(right)
    assert len(set(repeated)) == 1  # a generator that nothing reseeds repeats: see the hazards in docs/live-clone.md
    assert len(set(reseeded)) == len(set(of_all)) == 4


# -- uvloop


def loops_at_work(folder: str = "") -> list[Any]:
    """A uvloop in the main thread and one in another thread, each with the io_urings that libuv opens, each with a server."""
    import asyncio

    if folder:
        sys.path.insert(0, folder)
    import uvloop  # type: ignore[import-not-found,unused-ignore]

    def polled_rings() -> int:
        return sum(
            int(pid) > 0
            for info in Path("/proc/self/fdinfo").iterdir()
            for pid in re.findall(r"SqThread:\s*(\d+)", text_of(info))
        )

    def text_of(info: Path) -> str:
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            return info.read_text()
        return ""

    async def serve() -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            number = int(await reader.readline())
            writer.write(b"%d\n" % (number + 100 * guest.vmid()))
            writer.close()

        return await asyncio.start_server(answer, "0.0.0.0", 0)

    async def ask(server: asyncio.Server, address: str) -> list[int]:
        answers = []
        for number in range(40):
            reader, writer = await asyncio.open_connection(address, server.sockets[0].getsockname()[1])
            writer.write(b"%d\n" % number)
            answers.append(int(await reader.readline()))
            writer.close()
        return answers

    async def main(other: asyncio.AbstractEventLoop) -> list[Any]:
        def in_other(coroutine: Any) -> Any:
            return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, other))

        servers = [await serve(), await in_other(serve())]
        await ask(servers[0], "127.0.0.1")
        ticket = await aio.request_ticket(2, 2, 1, 0)
        vmid = await aio.clone(ticket)
        address = await aio.my_ip()
        found = [polled_rings(), await ask(servers[0], address), await in_other(ask(servers[1], address))]
        if vmid:
            await aio.join(json.dumps(found))
        return [found, *(json.loads(end.report or b"") for end in await aio.wait(ticket))]

    other = uvloop.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        result: list[Any] = loop.run_until_complete(main(other))
    finally:
        other.call_soon_threadsafe(other.stop)
        thread.join()
    return result


def all_answered(rings: int) -> list[Any]:
    return [[rings, *[[number + 100 * vmid for number in range(40)]] * 2] for vmid in range(3)]


def test_uvloop_goes_on_in_all_threads(run: Callable[..., Any]) -> None:
    pytest.importorskip("uvloop", reason="uvloop is optional")
    assert run(loops_at_work) == all_answered(0)


@pytest.fixture(scope="module")
def older_uvloop() -> Path:
    """The last uvloop whose loops each have a second ring, for files, with a kernel thread; in its own folder."""
    folder = Path(__file__).parents[2] / "build" / "uvloop-0.22.1-{}.{}".format(*sys.version_info)
    if not (folder / "uvloop").exists():
        options = ["--quiet", "--only-binary=:all:", "--target", str(folder)]
        pip = [sys.executable, "-m", "pip", "install", *options, "uvloop==0.22.1"]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"uvloop 0.22.1 is not available: {done.stderr}")
    return folder


def test_uvloop_with_polled_rings(run: Callable[..., Any], older_uvloop: Path) -> None:
    assert run(loops_at_work, str(older_uvloop)) in (all_answered(2), all_answered(0))  # 0: the kernel has no such rings


# -- files


def database(path: str, journal: str) -> list[Any]:
    """A connection to a database in a file: open in every domain, and every domain writes through it."""
    import sqlite3

    connection = sqlite3.connect(path, timeout=HANG_GUARD_S, isolation_level=None)
    assert connection.execute(f"pragma journal_mode={journal}").fetchone() == (journal,)
    connection.execute("create table domain(vmid)")
    connection.execute("insert into domain values('before')")
    rows = connection.execute("select 1 union select 2 union select 3")
    next(rows)  # a statement in progress
    vmid, ticket = clone_all(3)
    rest = rows.fetchall()
    for _ in range(20):
        connection.execute("insert into domain values(?)", (vmid,))
    mine = connection.execute("select count(*) from domain where vmid in (?, 'before')", (vmid,)).fetchone()
    if vmid:
        guest.join(json.dumps([rest, mine]))
    ended = reports(ticket)
    (whole,) = connection.execute("pragma integrity_check").fetchone()
    written = connection.execute("select vmid, count(*) from domain group by vmid order by vmid").fetchall()
    connection.close()
    return [whole, written, [[rest, mine], *ended]]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_database_stays_whole(run: Callable[..., Any], tmp_path: Path, journal: str) -> None:
    whole, written, everyone = run(database, str(tmp_path / "database"), journal)
    assert whole == "ok"
    assert written == [[0, 20], [1, 20], [2, 20], [3, 20], ["before", 1]]
    assert everyone == [[[[2], [3]], [21]]] * 4
