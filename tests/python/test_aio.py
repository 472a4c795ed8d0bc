"""gridcentric.aio: the loop keeps running, a cancelled task cancels its call on the host, no thread or descriptor is left."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, Callable

import pytest

import gridcentric
from gridcentric import aio, guest

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from conftest import Host

ALL = 2**31 - 1


def test_same_names() -> None:
    assert aio.__all__ == guest.__all__


def settled_threads() -> int:
    """The number of threads after those that have posted their result have ended."""
    for thread in threading.enumerate():
        if thread.name == "gridcentric.aio":
            thread.join()
    return threading.active_count()


async def results() -> list[Any]:
    ticket = await aio.request_ticket(4, 2, 2, 0)
    info = await aio.ticket_info(ticket)
    assert info == (ticket, "reserved", 4, 2, 2)
    assert (await aio.list_tickets())[1] == info
    (domain,) = await aio.list_domains()
    assert domain == (0, None, await aio.my_ip(), (await aio.list_tickets())[0].id, "running")
    assert await aio.vmid() == 0 and await aio.ismaster() is True
    assert isinstance(await aio.explain(), aio.Explanation)
    assert await aio.clone(ticket) == 0
    await aio.kill(1)
    await aio.kill(2)
    first, second = await aio.wait(ticket)
    assert first == (1, "killed", 9, None) and second.vmid == 2
    with pytest.raises(gridcentric.BarrierBroken):
        await aio.sync(ticket)
    with pytest.raises(gridcentric.InvalidArgument):
        await aio.join("x")
    unused = await aio.request_ticket(1, 1, 1, 0)
    await aio.release_ticket(unused)
    return [settled_threads()]


def run_results() -> list[Any]:
    return asyncio.run(results())


def test_results(host: Host) -> None:
    assert host.run_guest(run_results) == [1]


async def many_waits(count: int) -> int:
    before = len(os.listdir("/proc/self/fd"))
    everything = await aio.request_ticket(ALL, 1, 1, 0)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counter = asyncio.ensure_future(count_turns())
    waits = [asyncio.ensure_future(aio.request_ticket(1, 1, 1, -1)) for _ in range(count)]
    for _ in range(count):
        await asyncio.sleep(0)
    # The default executor is free, however many calls are open.
    assert await asyncio.get_running_loop().run_in_executor(None, lambda: 5) == 5
    await aio.release_ticket(everything)
    tickets = await asyncio.gather(*waits)
    assert len(set(tickets)) == count
    counter.cancel()
    assert turns > 0
    await asyncio.get_running_loop().shutdown_default_executor()
    assert settled_threads() == 1
    assert len(os.listdir("/proc/self/fd")) <= before + count + 3
    return count


def run_many_waits(count: int) -> int:
    return asyncio.run(many_waits(count))


def test_loop_goes_on_while_calls_wait(host: Host) -> None:
    assert host.run_guest(run_many_waits, 60) == 60


def control() -> Callable[..., Any]:
    """A control channel of this guest's host, from a guest's process."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("conftest", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ask: Callable[..., Any] = module.Control(os.environ["GRIDCENTRIC_HOST"]).ask
    return ask


async def cancel(call: str) -> list[Any]:
    ask = control()
    cloned = await aio.request_ticket(1, 1, 1, 0)
    await aio.clone(cloned)
    everything = await aio.request_ticket(ALL, 1, 1, 0)
    ask("latency", "clone", 1000)
    calls: dict[str, Coroutine[Any, Any, Any]] = {
        "request_ticket": aio.request_ticket(1, 1, 1, -1),
        "clone": aio.clone(everything),
        "sync": aio.sync(cloned),
        "wait": aio.wait(cloned),
    }
    task = asyncio.ensure_future(calls.pop(call))
    for other in calls.values():
        other.close()
    await asyncio.get_running_loop().run_in_executor(None, ask, "await", call, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The call is already cancelled when CancelledError is raised.
    return [fields for fields in ask("dump")[:-1] if fields[0] in ("call", "queue")]


def run_cancel(call: str) -> list[Any]:
    return asyncio.run(cancel(call))


@pytest.mark.parametrize("call", ["request_ticket", "clone", "sync", "wait"])
def test_cancelled_task_takes_the_call_back(host: Host, call: str) -> None:
    assert host.run_guest(run_cancel, call) == [["queue", "0"]]


async def cancel_at_every_moment(rounds: int) -> int:
    """Cancel a request that is granted at once, a little later each time: no ticket may be left."""
    for turns in range(rounds):
        task = asyncio.ensure_future(aio.request_ticket(1, 1, 1, 0))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            ticket = await task
        except asyncio.CancelledError:
            continue
        await aio.release_ticket(ticket)
    # A ticket granted after its task was cancelled is released by a separate call.
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)
    return len(await aio.list_tickets())


def run_cancel_at_every_moment(rounds: int) -> int:
    return asyncio.run(cancel_at_every_moment(rounds))


def test_no_ticket_is_left_by_a_cancelled_request(host: Host) -> None:
    assert host.run_guest(run_cancel_at_every_moment, 200) == 1


async def time_out() -> None:
    await aio.request_ticket(ALL, 1, 1, 0)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(aio.request_ticket(1, 1, 1, -1), 0.01)
    with pytest.raises(TimeoutError) as of_the_host:
        await aio.request_ticket(1, 1, 1, 0)
    assert of_the_host.type is gridcentric.TimedOut


def run_time_out() -> None:
    asyncio.run(time_out())


def test_wait_for(host: Host) -> None:
    host.run_guest(run_time_out)
    assert not host.open_calls()


async def leave_calls_open() -> None:
    await aio.request_ticket(ALL, 1, 1, 0)
    for _ in range(5):
        _tasks.append(asyncio.ensure_future(aio.request_ticket(1, 1, 1, -1)))
    await asyncio.sleep(0)


_tasks: list[asyncio.Future[str]] = []


def end_the_loop_with_open_calls() -> list[bool]:
    asyncio.run(leave_calls_open())  # which cancels them
    return [task.cancelled() for task in _tasks]


def close_the_loop_with_open_calls() -> list[bool]:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_calls_open())
    for task in _tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(_tasks))
    loop.close()
    return [task.cancelled() for task in _tasks]


@pytest.mark.parametrize("end", [end_the_loop_with_open_calls, close_the_loop_with_open_calls])
def test_the_loop_ends_with_open_calls(host: Host, end: Callable[[], list[bool]]) -> None:
    assert host.run_guest(end) == [True] * 5
    assert not host.open_calls()


async def lose_the_host() -> None:
    await aio.request_ticket(ALL, 1, 1, 0)
    with pytest.raises(gridcentric.HostUnreachable):
        await aio.request_ticket(1, 1, 1, -1)


def run_lose_the_host() -> None:
    asyncio.run(lose_the_host())


def test_host_killed(host: Host) -> None:
    program = host.start_guest(run_lose_the_host)
    host.control("await", "request_ticket", 1)
    host.kill()
    program.result()


def on_uvloop() -> list[Any]:
    import uvloop  # type: ignore[import-not-found,unused-ignore]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # type: ignore[attr-defined,unused-ignore]
        return [*runner.run(cancel("request_ticket")), *runner.run(results_again())]


async def results_again() -> list[Any]:
    return [info.status for info in await aio.list_tickets()]


def test_uvloop(host: Host) -> None:
    pytest.importorskip("uvloop", reason="uvloop is optional; gridcentric treats it like any loop")
    if not hasattr(asyncio, "Runner"):
        pytest.skip("asyncio.Runner is of Python 3.11")
    assert host.run_guest(on_uvloop) == [["queue", "0"], "active", "active", "reserved"]
