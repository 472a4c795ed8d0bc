"""Drivers in Python (gridcentric.hypervisors.Driver): what the trampoline hands to them, and what they may do without."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))
from runner.wire import HANG_GUARD_S, Connection, Refused

from gridcentric import _host


class Names:
    """Its domains are names and no more; it can't clone."""

    name = "names"

    def attach(self, listener: Any) -> None:
        self.listener = listener

    def capabilities(self) -> dict[str, object]:
        return {}

    def adopt(self, domain: int, pid: int, uid: int) -> str:
        return "10.0.0.1"

    def clone(self, cloning: Any) -> None:
        raise RuntimeError("names can't be cloned")

    def end(self, domain: int) -> None:
        self.listener.ended(domain, "killed", 9)

    def address_of(self, domain: int) -> str:
        return "10.0.0.1"

    def pid_of(self, domain: int) -> int:
        return -1

    def domain_of(self, pid: int) -> int:
        return 0


class NamesThatHeed(Names):
    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[int, int]] = queue.Queue()

    def expect(self, domain: int, clones: int) -> None:
        self.heard.put((domain, clones))

    def next(self) -> tuple[int, int]:
        return self.heard.get(timeout=HANG_GUARD_S)


class NamesThatCloneThemselves(Names):
    """The process that asks is told to; the test plays it."""

    def __init__(self) -> None:
        self.asked: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.heard: queue.Queue[tuple[str, Any]] = queue.Queue()

    def clone(self, cloning: Any) -> None:
        if cloning.cpus_per_vm > 1:
            raise NotImplementedError("names have one CPU")
        self.asked.put((cloning.parent, cloning.ticket, cloning.clones, cloning.pid, cloning.uid, cloning.mode))

        def answered(kind: str, value: Any) -> None:
            self.heard.put((kind, value))
            if kind == "forked":
                cloning.made(lambda: self.heard.put(("known", None)))
                cloning.failed("what is said twice is not heard")
            elif kind == "failed":
                cloning.failed(value[1])

        cloning.order("plain", [(vmid, f"127.0.9.{vmid}") for _, vmid in cloning.clones], answered)


class NamesThatCount(Names):
    """There is room for 4 at a time, and never for more. The test answers for it, from its own thread."""

    def __init__(self) -> None:
        self.asked: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.released: queue.Queue[str] = queue.Queue()

    def reserve(self, *request: Any) -> None:
        if request[2] > 4:
            raise RuntimeError(f"{request[2]} VMs wanted, there is room for 4")
        self.asked.put(request)

    def release(self, ticket: str) -> None:
        self.released.put(ticket)

    def next(self) -> tuple[Any, ...]:
        return self.asked.get(timeout=HANG_GUARD_S)


class NamesThatKeepDescriptors(Names):
    """More for each clone than any process may open."""

    descriptors_a_clone = 2**30


@contextlib.contextmanager
def host_of(driver: Names, folder: Path, hello: str = "attach") -> Iterator[Connection]:
    """A host on the driver, and its first master."""
    listening: queue.Queue[Callable[[], None]] = queue.Queue()
    path = str(folder / "host.sock")
    thread = threading.Thread(
        target=_host.run_host, args=(driver, path, 8, "", False), kwargs={"on_ready": lambda path, stop: listening.put(stop)}
    )
    thread.start()
    stop = listening.get(timeout=HANG_GUARD_S)
    try:
        with Connection(path, hello) as master:
            yield master
    finally:
        stop()
        thread.join()


def test_a_driver_hears_what_to_expect(tmp_path: Path) -> None:
    driver = NamesThatHeed()
    with host_of(driver, tmp_path) as master:
        _, [ticket] = master.call("request_ticket", 3, 3, 1, 0)
        assert driver.next() == (1, 3)
        with pytest.raises(Refused, match="names can't be cloned"):
            master.call("clone", ticket)
        assert [driver.next(), driver.next()] == [(1, 0), (1, 3)]
        master.call("release_ticket", ticket)
        assert driver.next() == (1, 0)
        assert driver.heard.empty()


def test_a_driver_that_counts(tmp_path: Path) -> None:
    driver = NamesThatCount()
    with host_of(driver, tmp_path) as master:
        with pytest.raises(Refused, match="5 VMs wanted, there is room for 4") as refused:
            master.call("request_ticket", 5, 5, 1, -1)
        assert refused.value.code == "not_supported"

        first = master.start("request_ticket", 8, 1, 2, -1)
        ticket, domain, least, most, cpus_per_vm, answer = driver.next()
        assert (domain, least, most, cpus_per_vm) == (1, 1, 4, 2)
        behind = master.start("request_ticket", 1, 1, 1, -1)
        answer.later("not now")
        driver.listener.room()
        answer = driver.next()[-1]  # of the first again: nobody overtakes
        answer.granted(3)
        answer.refused("what is said twice is not heard")
        assert master.finish(first)[1] == [ticket]
        assert master.call("ticket_info", ticket)[1][1:4] == ["reserved", "6", "3"]

        other = driver.next()
        other[-1].granted(1)
        assert master.finish(behind)[1] == [other[0]]
        master.call("release_ticket", ticket)
        assert driver.released.get(timeout=HANG_GUARD_S) == ticket

        once = master.start("request_ticket", 1, 1, 1, 0)
        ticket, *_, answer = driver.next()
        answer.later("there is no room now")
        with pytest.raises(Refused, match="there is no room now") as refused:
            master.finish(once)
        assert refused.value.code == "timed_out"
        assert driver.released.get(timeout=HANG_GUARD_S) == ticket


def test_a_driver_hears_of_those_that_give_up(tmp_path: Path) -> None:
    """Requests that it has put off: it may be making room for them."""
    driver = NamesThatCount()
    with host_of(driver, tmp_path) as master:
        with Connection(str(tmp_path / "host.sock"), "attach") as other:
            other.start("request_ticket", 2, 2, 1, -1)
            gone, *_, answer = driver.next()
            answer.later("not now")
        assert driver.released.get(timeout=HANG_GUARD_S) == gone, "its asker has hung up"
        call = master.start("request_ticket", 2, 2, 1, 200)
        late, *_, answer = driver.next()
        answer.later("not now")
        with pytest.raises(Refused) as refused:
            master.finish(call)
        assert refused.value.code == "timed_out"
        assert driver.released.get(timeout=HANG_GUARD_S) == late


def test_a_driver_that_keeps_descriptors(tmp_path: Path) -> None:
    with host_of(NamesThatKeepDescriptors(), tmp_path) as master:
        with pytest.raises(Refused, match=f"a clone takes {2**30 + 1} of them") as refused:
            master.call("request_ticket", 1, 1, 1, -1)
        assert refused.value.code == "clone_failed"


def test_a_driver_whose_domains_clone_themselves(tmp_path: Path) -> None:
    driver = NamesThatCloneThemselves()
    with host_of(driver, tmp_path, "attach mode=plain") as master:
        _, [wide] = master.call("request_ticket", 2, 1, 2, 0)
        with pytest.raises(Refused, match="names have one CPU") as refused:
            master.call("clone", wide)
        assert refused.value.code == "not_supported"

        _, [ticket] = master.call("request_ticket", 1, 1, 1, 0)
        for answer, wanted in ((("failed", 5, "no", "luck"), ("failed", (5, "no luck"))), (("forked", 1), ("forked", 1))):
            call = master.start("clone", ticket)
            parent, asked, clones, pid, uid, mode = driver.asked.get(timeout=HANG_GUARD_S)
            assert (parent, asked, len(clones), pid, uid, mode) == (1, ticket, 1, os.getpid(), os.getuid(), "plain")
            assert master.read_line() == f"{call} fork plain {clones[0][1]}@127.0.9.{clones[0][1]}"
            master.send_line(f"{call} bound udp6 53")
            assert driver.heard.get(timeout=HANG_GUARD_S) == ("bound", (False, True, 53))
            master.send_line(f"{call} {' '.join(map(str, answer))}")
            assert driver.heard.get(timeout=HANG_GUARD_S) == wanted
            if answer[0] == "failed":
                with pytest.raises(Refused, match="no luck"):
                    master.finish(call)
        assert master.finish(call)[1] == ["0"]
        assert driver.heard.get(timeout=HANG_GUARD_S) == ("known", None)


def test_a_driver_founds_families(tmp_path: Path) -> None:
    """Whose masters can't say hello to the host themselves: they are there all the same, and their end ends them."""
    driver = Names()
    founded: queue.Queue[tuple[int, str]] = queue.Queue()
    said: queue.Queue[None] = queue.Queue()
    with host_of(driver, tmp_path) as master, Connection(str(tmp_path / "host.sock"), "observe") as observer:
        driver.listener.new_family("a program", "", lambda *born: founded.put(born))
        key, family = founded.get(timeout=HANG_GUARD_S)
        row = next(row for row in observer.call("list_all")[0] if row[0] == family)
        assert (row[1], row[2], row[-1]) == ("0", "-", "a%20program")
        assert family != master.identity[0]
        driver.listener.bye(key, lambda: said.put(None))
        said.get(timeout=HANG_GUARD_S)
        driver.listener.ended(key, "exited", 0)
        assert family not in [row[0] for row in observer.call("list_all")[0]]
        with pytest.raises(ValueError, match="expected end, keep"):
            driver.listener.new_family("a program", "never", lambda *born: founded.put(born))
    with pytest.raises(RuntimeError, match="the host has ended"):
        driver.listener.new_family("a program", "", lambda *born: founded.put(born))


def test_a_driver_without_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with host_of(Names(), tmp_path) as master:
        _, [ticket] = master.call("request_ticket", 3, 3, 1, 0)
        master.call("release_ticket", ticket)
    assert capfd.readouterr().err == ""  # where a method that fails is shown
