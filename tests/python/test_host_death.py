"""When a private host is killed its clones end; its master keeps running, and its next call begins a new family."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from family import clone_all, run_master

from gridcentric import HostUnreachable, NoSuchTicket, guest


def host() -> str:
    """The path of its socket; os.environ is a copy of the environment at the start of Python."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    return str(getenv(b"GRIDCENTRIC_HOST").decode().removeprefix("unix:"))


def host_pid() -> int:
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(host())
        return int(struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def lose_host(rounds: int) -> list[Any]:
    """In a master: what it sees in each round in which its host is killed."""
    seen = []
    for _ in range(rounds):
        vmid, ticket = clone_all(2)
        if vmid:
            time.sleep(1000)
        family = guest.list_domains()
        waiting: list[BaseException] = []

        def wait(ticket: str = ticket, waiting: list[BaseException] = waiting) -> None:
            try:
                guest.wait(ticket)
            except (HostUnreachable, NoSuchTicket) as error:  # the latter: the call came too late for the old host
                waiting.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        place, pid = host(), host_pid()
        os.kill(pid, signal.SIGKILL)
        thread.join()
        alone = guest.list_domains()
        with pytest.raises(NoSuchTicket):
            guest.ticket_info(ticket)
        while not gone(pid):
            time.sleep(0.01)
        assert host() != place
        assert not Path(place).parent.exists()
        seen.append([len(family), len(waiting), [domain.vmid for domain in alone], guest.vmid(), guest.ismaster()])
    # Everything works again.
    vmid, ticket = clone_all(2)
    if vmid:
        guest.sync()
        guest.join(str(vmid))
    guest.sync(ticket)
    seen.append([result.report.decode() for result in guest.wait(ticket)])
    return seen


@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_a_master_outlives_its_private_host(mode: str, tmp_path: Path) -> None:
    *rounds, reports = run_master(mode, tmp_path, lose_host, 3)
    assert rounds == [[3, 1, [0], 0, True]] * 3
    assert reports == ["1", "2"]


def calls_of_threads() -> int:
    """In a master: how many of 20 threads that call at once after the host's death find the same new host."""
    guest.list_domains()
    os.kill(host_pid(), signal.SIGKILL)
    start, places = threading.Barrier(20), []

    def call() -> None:
        start.wait()
        try:
            guest.list_domains()
        except HostUnreachable:  # the old host was still ending
            guest.list_domains()
        places.append(host())

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(places)) == 1
    return len(places)


def test_threads_that_call_at_once_begin_one_family(tmp_path: Path) -> None:
    assert run_master("plain", tmp_path, calls_of_threads) == 20


def clone_outlives_nothing() -> list[str]:
    """In a master: when the host dies its clone ends, and does not begin a new family."""
    vmid, _ = clone_all(1)
    if vmid:
        while True:
            try:
                guest.list_domains()
            except HostUnreachable:
                continue
    pid = next(domain for domain in guest.list_domains() if domain.vmid == 1)
    os.kill(host_pid(), signal.SIGKILL)
    while True:
        try:
            return [str(pid.vmid), *(str(domain.vmid) for domain in guest.list_domains())]
        except HostUnreachable:
            continue


def test_a_clone_ends_with_its_host(tmp_path: Path) -> None:
    assert run_master("pidns", tmp_path, clone_outlives_nothing) == ["1", "0"]
