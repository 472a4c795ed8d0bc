"""What is specific to Python in gridcentric.guest: the GIL, signals, threads, fork, exit. What the calls mean is tested in
tests/conformance.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

import gridcentric
from gridcentric import guest

if TYPE_CHECKING:
    from conftest import Host

UNKNOWN = "8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11"


def until_in_poll(thread_id: int) -> None:
    """Wait until a thread of this process sleeps in poll(); /proc shows its system call."""
    poll = {"x86_64": ("7 ", "271 "), "aarch64": ("73 ",)}[os.uname().machine]
    while not Path(f"/proc/self/task/{thread_id}/syscall").read_text().startswith(poll):
        os.sched_yield()


def take_all_cpus() -> str:
    """A ticket for all CPUs of the host: the next request waits."""
    return guest.request_ticket(2**31 - 1, 1, 1, 0)


# -- results


def results() -> list[Any]:
    ticket = guest.request_ticket(4, 2, 2, 0)
    info = guest.ticket_info(ticket)
    assert guest.ticket_info(uuid.UUID(ticket)) == info
    assert isinstance(info, guest.TicketInfo) and info == (ticket, "reserved", 4, 2, 2)
    mine, second = guest.list_tickets()
    assert (mine.status, mine.vms, second) == ("active", 1, info)
    (domain,) = guest.list_domains()
    assert isinstance(domain, guest.Domain)
    assert domain == (0, None, guest.my_ip(), mine.id, "running")
    assert guest.vmid() == 0 and guest.ismaster() is True
    assert guest.clone(ticket) == 0
    return [ticket, [d.vmid for d in guest.list_domains()]]


def test_results(host: Host) -> None:
    assert host.run_guest(results)[1] == [0, 1, 2]


def wait_for_two(ticket: str) -> None:
    first, second = guest.wait(ticket)
    assert isinstance(first, guest.Result)
    assert first == (1, "joined", 0, b"a\0\xff")
    assert second == (2, "exited", 3, None)
    assert guest.wait(ticket, 0) == [first, second]


def clone_and_wait() -> None:
    ticket = guest.request_ticket(2, 2, 1, 0)
    assert guest.clone(ticket) == 0
    wait_for_two(ticket)


def join_as_clone() -> None:
    assert guest.vmid() == 1 and guest.ismaster() is False
    with contextlib.suppress(gridcentric.TooLarge):
        guest.join(bytes(2**20 + 1))
    print("flushed by join", end="")
    guest.join(b"a\0\xff")


def test_join_and_wait(host: Host) -> None:
    master = host.start_guest(clone_and_wait)
    host.control("await", "wait", 1)
    family = host.control("domains")[0][0]
    code, out, err = host.start_guest(join_as_clone, attach=f"{family}/1").finish()
    assert (code, out, err) == (0, "flushed by join", "")
    host.control("end", family, 2, "exited", 3)
    master.result()


# -- errors of the host


def refusals() -> list[str]:
    texts = []
    for call, error, named in [
        (lambda: guest.ticket_info(UNKNOWN), gridcentric.NoSuchTicket, UNKNOWN),
        (lambda: guest.kill(77), gridcentric.NoSuchDomain, "77"),
        (lambda: guest.join("x"), gridcentric.InvalidArgument, "master"),
        (guest.sync, gridcentric.InvalidArgument, "ticket"),
        (lambda: guest.release_ticket(guest.list_tickets()[0].id), gridcentric.TicketUsed, "ticket"),
    ]:
        with pytest.raises(error, match=named) as raised:
            call()
        texts.append(str(raised.value))
    take_all_cpus()
    with pytest.raises(TimeoutError) as timed_out:
        guest.request_ticket(1, 1, 1, 0)
    assert timed_out.type is gridcentric.TimedOut
    return texts


def test_refusals(host: Host) -> None:
    texts = host.run_guest(refusals)
    assert all(len(text) > 10 for text in texts)


# -- the GIL


def wait_while_others_run() -> None:
    ticket = take_all_cpus()
    main = threading.get_native_id()

    def release() -> None:
        until_in_poll(main)  # if the wait held the GIL, no thread would get here
        guest.release_ticket(ticket)

    other = threading.Thread(target=release)
    other.start()
    guest.request_ticket(1, 1, 1, -1)
    other.join()


def test_wait_releases_the_gil(host: Host) -> None:
    host.run_guest(wait_while_others_run)


def many_threads(threads: int, calls: int) -> int:
    done: list[int] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(calls):
                ticket = guest.request_ticket(1, 1, 1, -1)
                assert guest.ticket_info(ticket).cpus == 1
                guest.release_ticket(ticket)
                with pytest.raises(gridcentric.NoSuchTicket):
                    guest.ticket_info(ticket)
                done.append(guest.vmid())
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=work) for _ in range(threads)]
    before = len(os.listdir("/proc/self/fd"))
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert not errors, errors
    # What remains are idle connections of the pool, no more than there were simultaneous calls.
    assert len(os.listdir("/proc/self/fd")) <= before + threads
    return len(done)


def test_64_threads(host: Host) -> None:
    assert host.run_guest(many_threads, 64, 10) == 640
    assert not host.open_calls()


# -- signals


def interrupt(call: str) -> int:
    ticket = take_all_cpus()
    main = threading.get_native_id()
    cloned = guest.list_tickets()[0].id
    calls: dict[str, Callable[[], object]] = {
        "request_ticket": lambda: guest.request_ticket(1, 1, 1, -1),
        "clone": lambda: guest.clone(ticket),
        "sync": lambda: guest.sync(cloned, -1),
        "wait": lambda: guest.wait(cloned, -1),
    }
    if call in ("sync", "wait"):
        guest.release_ticket(ticket)
        cloned = guest.request_ticket(1, 1, 1, 0)
        guest.clone(cloned)

    def press_ctrl_c() -> None:
        until_in_poll(main)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c).start()
    with pytest.raises(KeyboardInterrupt):
        calls[call]()
    return [info.id for info in guest.list_tickets()].count(ticket)


@pytest.mark.parametrize("call", ["request_ticket", "clone", "sync", "wait"])
def test_ctrl_c_takes_the_call_back(host: Host, call: str) -> None:
    if call == "clone":
        host.control("latency", "clone", 1000)  # of virtual time: forever
    tickets = host.run_guest(interrupt, call)
    assert tickets == (1 if call == "request_ticket" else 0)  # a cancelled clone releases its ticket
    assert not host.open_calls()


def handler_that_returns() -> list[int]:
    ticket = take_all_cpus()
    main = threading.get_native_id()
    seen: list[int] = []

    def on_signal(number: int, _: object) -> None:
        seen.append(number)

    signal.signal(signal.SIGUSR1, on_signal)

    def send() -> None:
        until_in_poll(main)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not seen:  # the handler runs during the wait
            os.sched_yield()
        guest.release_ticket(ticket)

    sender = threading.Thread(target=send)
    sender.start()
    guest.request_ticket(1, 1, 1, -1)
    sender.join()
    return seen


def test_a_handler_that_returns_does_not_end_the_wait(host: Host) -> None:
    assert host.run_guest(handler_that_returns) == [signal.SIGUSR1]


# -- the host is killed


def lose_the_host(call: str) -> list[Any]:
    ticket = guest.request_ticket(2, 2, 1, 0)
    reserved = guest.request_ticket(1, 1, 1, 0)
    guest.clone(ticket)
    calls: dict[str, Callable[[], object]] = {
        "request_ticket": lambda: guest.request_ticket(1, 1, 1, -1),
        "release_ticket": lambda: guest.release_ticket(reserved),
        "list_tickets": guest.list_tickets,
        "ticket_info": lambda: guest.ticket_info(ticket),
        "clone": lambda: guest.clone(reserved),
        "list_domains": guest.list_domains,
        "sync": lambda: guest.sync(ticket),
        "wait": lambda: guest.wait(ticket),
        "kill": lambda: guest.kill(1),
    }
    if call in ("request_ticket", "sync", "wait"):
        take_all_cpus()
    before = len(os.listdir("/proc/self/fd"))
    print("ready", flush=True)
    sys.stdin.readline()
    with pytest.raises(gridcentric.HostUnreachable) as first:
        calls[call]()
    with pytest.raises(gridcentric.HostUnreachable):
        calls[call]()
    assert guest.vmid() == 0  # from memory
    return [str(first.value), len(os.listdir("/proc/self/fd")) - before]


WAITING = ["request_ticket", "clone", "sync", "wait"]


@pytest.mark.parametrize("call", [*WAITING, "release_ticket", "list_tickets", "ticket_info", "list_domains", "kill"])
def test_host_killed(host: Host, call: str) -> None:
    program = host.start_guest(lose_the_host, call)
    assert program.process.stdout is not None and program.process.stdin is not None
    assert program.process.stdout.readline() == "ready\n"
    host.control("latency", "clone", 1000)  # of virtual time: forever
    if call not in WAITING:
        host.kill()
    program.process.stdin.write("\n")
    program.process.stdin.flush()
    if call in WAITING:
        host.control("await", call, 1)
        host.kill()
    text, leaked = program.result()
    assert "host" in text
    assert leaked <= 0


# -- fork and exit


def fork_with_open_call() -> int:
    take_all_cpus()
    waiter = threading.Thread(target=lambda: guest.request_ticket(1, 1, 1, -1), daemon=True)
    waiter.start()
    assert waiter.native_id is not None
    until_in_poll(waiter.native_id)
    child = os.fork()
    if child == 0:  # in the same domain; only this thread exists
        assert guest.vmid() == 0 and len(guest.list_tickets()) == 3
        sys.exit(7)  # exit handlers run: there is nothing to wait for
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_fork(host: Host) -> None:
    assert host.run_guest(fork_with_open_call) == 7


def exit_with_open_calls() -> None:
    take_all_cpus()
    waiters = [threading.Thread(target=lambda: guest.request_ticket(1, 1, 1, -1), daemon=True) for _ in range(8)]
    for waiter in waiters:
        waiter.start()
        assert waiter.native_id is not None
        until_in_poll(waiter.native_id)


def test_exit_with_open_calls(host: Host) -> None:
    assert host.run_guest(exit_with_open_calls) is None


def call_in_exit_handler() -> None:
    import atexit

    ticket = guest.request_ticket(1, 1, 1, 0)
    atexit._run_exitfuncs()  # as the interpreter does: gridcentric's exit handler runs
    guest.release_ticket(ticket)


def test_main_thread_calls_after_exit_handlers(host: Host) -> None:
    host.run_guest(call_in_exit_handler)


# -- explain and handlers


def test_explain() -> None:
    explanation = guest.explain()
    assert isinstance(explanation.can_clone, bool)
    assert explanation.report.endswith("\n")


def test_on_clone_is_a_decorator() -> None:
    from gridcentric import _after_clone

    @guest.on_clone
    def handler(vmid: int) -> None:
        raise AssertionError("no clone was made")

    assert _after_clone.handlers[-1] is handler
    _after_clone.handlers.remove(handler)
