"""Handles of the master's child processes in a clone (the process hypervisor, both modes): each has ended unsuccessfully;
nothing that a clone does to one reaches the master's child; inherited pools fail at once and say why.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import multiprocessing
import multiprocessing.pool
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from family import clone_all, reports

from gridcentric import aio, guest

KILLED = -signal.SIGKILL
NO_PID = 2**31 - 1
STAYED = "this process pool was made before the clone, and its processes stayed with the master: make a new pool in the clone"


def spawn(**options: Any) -> subprocess.Popen[Any]:
    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, **options)


def abuse(child: Any) -> None:
    """Everything that a program does to get rid of a child."""
    child.kill()
    child.terminate()
    if hasattr(child, "send_signal"):
        child.send_signal(signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)


# -- subprocess


def popen() -> list[Any]:
    polled, killed, awaited, read = (spawn(stdout=subprocess.PIPE) for _ in range(4))
    ended = subprocess.Popen(["true"])
    ended.wait()
    outcome: list[int] = []
    waiter = threading.Thread(target=lambda: outcome.append(awaited.wait()))
    waiter.start()
    assert waiter.native_id is not None
    while not Path(f"/proc/self/task/{waiter.native_id}/syscall").read_text().startswith(("61 ", "260 ")):  # wait4
        os.sched_yield()
    vmid, ticket = clone_all(2)
    if vmid:
        abuse(killed)
        waiter.join()
        own = subprocess.run(["sh", "-c", "exit 3"], check=False).returncode
        sleeper = spawn()
        own_poll = sleeper.poll()
        abuse(sleeper)
        output = read.communicate(b"said")[0]
        found = [polled.poll(), polled.wait(5), polled.returncode, polled.pid, killed.wait(), outcome, read.returncode]
        guest.join(json.dumps([*found, len(output), own, own_poll, sleeper.wait(), ended.returncode, ended.pid > 0]))
    clones = reports(ticket)
    still = [child.poll() for child in (polled, killed, awaited, read)]
    for child in (polled, killed, awaited, read):
        assert child.stdin is not None
        child.stdin.close()
    waiter.join()
    return [still, [child.wait() for child in (polled, killed, awaited, read)], outcome, clones]


def test_popen(run: Callable[..., Any]) -> None:
    still, ends, outcome, clones = run(popen)
    assert still == [None] * 4
    assert ends == [0] * 4 and outcome == [0]
    for clone in clones:
        assert clone[:7] == [KILLED, KILLED, KILLED, NO_PID, KILLED, [KILLED], KILLED]
        assert clone[7:] == [0, 3, None, KILLED, 0, True]


def generations() -> list[Any]:
    """A clone's own child does not belong to its clone."""
    masters = spawn()
    vmid, ticket = clone_all(1)
    if vmid:
        clone_again(masters)
    assert masters.stdin is not None
    found = reports(ticket)[0]
    masters.stdin.close()
    return [*found, masters.wait()]


def clone_again(masters: subprocess.Popen[Any]) -> None:
    own = spawn()
    second, ticket = clone_all(1)
    if second:
        newest = spawn()
        abuse(own)
        abuse(masters)
        still = newest.poll()
        abuse(newest)
        guest.join(json.dumps([masters.poll(), own.poll(), still, newest.wait()]))
    found = reports(ticket)[0]
    still = own.poll()
    assert own.stdin is not None
    own.stdin.close()
    guest.join(json.dumps([found, masters.poll(), still, own.wait()]))


def test_a_clones_child_is_not_its_clones(run: Callable[..., Any]) -> None:
    assert run(generations) == [[KILLED, KILLED, None, KILLED], KILLED, None, 0, 0]


# -- asyncio and uvloop

CODE = [sys.executable, "-c", "import sys; sys.stdin.read(); print('read')"]


class Exited(asyncio.SubprocessProtocol):
    """What a transport says of its child: each call once, in this order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.lost = asyncio.get_running_loop().create_future()

    def process_exited(self) -> None:
        self.calls.append("exited")

    def connection_lost(self, _: Any) -> None:
        self.calls.append("lost")
        self.lost.set_result(None)


def runner(loop: str) -> Callable[..., Any]:
    if loop == "asyncio":
        return asyncio.run
    import uvloop

    return uvloop.run


async def awaited_children(threaded: bool) -> list[Any]:
    loop = asyncio.get_running_loop()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    transport, protocol = await loop.subprocess_exec(Exited, *CODE)
    waited, talked = [await asyncio.create_subprocess_exec(*CODE, **pipes) for _ in range(2)]  # type: ignore[arg-type]
    ended = await asyncio.create_subprocess_exec("sh", "-c", "exit 4")
    assert await ended.wait() == 4
    waiting = asyncio.ensure_future(waited.wait())
    talking = asyncio.ensure_future(talked.communicate())
    await asyncio.sleep(0)
    ticket = await aio.request_ticket(2, 2, 1, 0)
    if await aio.clone(ticket) if threaded else guest.clone(ticket):
        pids = [waited.pid, talked.pid, transport.get_pid()]
        for child in (waited, talked, transport):
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        found = [await waiting, waited.returncode, (await talking)[0].decode(), talked.returncode]
        await protocol.lost
        transport.close()
        own = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
        killed = await asyncio.create_subprocess_exec(*CODE, **pipes)  # type: ignore[arg-type]
        killed.kill()
        own_ends = [await own.wait(), await killed.wait(), ended.returncode, 0 < own.pid < NO_PID > killed.pid]
        pids += [waited.pid, talked.pid, transport.get_pid()]
        await aio.join(json.dumps([found, transport.get_returncode(), protocol.calls, pids, own_ends]))
    clones = await asyncio.to_thread(reports, ticket)
    still = [waited.returncode, talked.returncode, transport.get_returncode()]
    for child in (waited, talked):
        assert child.stdin is not None
        child.stdin.close()
    transport.get_pipe_transport(0).close()  # type: ignore[union-attr]
    await protocol.lost
    return [still, await waiting, transport.get_returncode(), (await talking)[0].decode(), clones]


def run_awaited_children(loop: str, threaded: bool) -> list[Any]:
    return runner(loop)(awaited_children(threaded))  # type: ignore[no-any-return]


@pytest.mark.parametrize("threaded", [True, False])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_awaited(run: Callable[..., Any], loop: str, threaded: bool) -> None:
    still, waited, exited, output, clones = run(run_awaited_children, loop, threaded)
    assert still == [None] * 3
    assert [waited, exited, output] == [0, 0, "read\n"]
    expected = [[KILLED, KILLED, "", KILLED], KILLED, ["exited", "lost"], [NO_PID] * 6, [3, KILLED, 4, True]]
    assert clones == [expected] * 2


# -- multiprocessing and pools


def processes() -> list[Any]:
    context = multiprocessing.get_context("fork")
    gate, go = os.pipe()
    child, other = (context.Process(target=os.read, args=(gate, 1)) for _ in range(2))
    child.start()
    other.start()
    server = multiprocessing.get_context("forkserver")
    served = server.Process(target=os.getpid)
    served.start()
    served.join()
    vmid, ticket = clone_all(1)
    if vmid:
        abuse(child)
        found = [len(multiprocessing.active_children()), child.is_alive(), child.exitcode, child.pid]
        other.join()
        mine = [context.Process(target=int), server.Process(target=os.getpid)]
        for process in mine:
            process.start()
            process.join()
        guest.join(json.dumps([*found, other.exitcode, [process.exitcode for process in mine]]))
    found = [len(multiprocessing.active_children()), *reports(ticket)]
    os.write(go, b"xx")
    child.join()
    other.join()
    return [*found, child.exitcode, other.exitcode]


def test_multiprocessing(run: Callable[..., Any]) -> None:
    assert run(processes) == [2, [0, False, KILLED, NO_PID, KILLED, [0, 0]], 0, 0]


def why(work: Callable[[], Any]) -> str:
    try:
        return f"returned {work()!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def pool() -> list[Any]:
    reader, writer = os.pipe()
    with multiprocessing.get_context("fork").Pool(2) as pool, multiprocessing.pool.ThreadPool(2) as threads:
        assert pool.apply(abs, (-1,)) == 1
        one = pool.apply_async(os.read, (reader, 1))
        many = pool.starmap_async(os.read, [(reader, 1)] * 3)
        each = pool.imap(abs, [-1] * 3)
        vmid, ticket = clone_all(2)
        if vmid:
            found = [why(one.get), why(many.get), why(lambda: pool.apply(abs, (-1,))), why(lambda: next(each))]
            pool.terminate()
            pool.join()
            worked = threads.map(abs, [-1, -2])
            threads.terminate()
            threads.join()
            with multiprocessing.get_context("fork").Pool(1) as own:
                guest.join(json.dumps([*found, worked, own.apply(abs, (-3,)), len(multiprocessing.active_children())]))
        clones = reports(ticket)
        os.write(writer, b"xxxx")
        return [clones, one.get().decode(), [each.decode() for each in many.get()], list(each)]


def test_pool(run: Callable[..., Any]) -> None:
    clones, *masters = run(pool)
    assert masters == ["x", ["x"] * 3, [1] * 3]
    for clone in clones:
        assert clone == [f"ProcessError: {STAYED}"] * 2 + [f"ValueError: {STAYED}", f"ProcessError: {STAYED}", [1, 2], 3, 1]


def pool_at_work() -> list[Any]:
    """The pool's own thread is just looking after its processes, and goes on with that in the clone."""
    looks, may_go_on = threading.Event(), threading.Event()
    look = multiprocessing.pool.Pool._join_exited_workers  # type: ignore[attr-defined]

    def look_for_long(workers: Any) -> Any:
        looks.set()
        may_go_on.wait()
        return look(workers)

    with multiprocessing.get_context("fork").Pool(2) as pool:
        multiprocessing.pool.Pool._join_exited_workers = staticmethod(look_for_long)  # type: ignore[attr-defined]
        assert pool.apply(abs, (-1,)) == 1  # wakes that thread
        looks.wait()
        vmid, ticket = clone_all(1)
        may_go_on.set()
        if vmid:
            pool._worker_handler.join()  # type: ignore[attr-defined]
            guest.join(json.dumps(len(multiprocessing.active_children())))
        return [*reports(ticket), pool.apply(abs, (-2,)), len(multiprocessing.active_children())]


def test_pool_that_looks_after_its_processes(run: Callable[..., Any]) -> None:
    assert run(pool_at_work) == [0, 2, 2]


def executor() -> list[Any]:
    reader, writer = os.pipe()
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as executor:
        assert executor.submit(abs, -1).result() == 1
        reading = [executor.submit(os.read, reader, 1) for _ in range(4)]
        vmid, ticket = clone_all(2)
        if vmid:
            found = [why(lambda: executor.submit(abs, -1)), *(why(each.result) for each in reading)]
            executor.shutdown()
            with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as own:
                guest.join(json.dumps([*found, own.submit(abs, -3).result()]))
        clones = reports(ticket)
        os.write(writer, b"xxxx")
        return [clones, [each.result().decode() for each in reading]]


def test_executor(run: Callable[..., Any]) -> None:
    clones, masters = run(executor)
    assert masters == ["x"] * 4
    assert clones == [[f"BrokenProcessPool: {STAYED}"] * 5 + [3]] * 2
