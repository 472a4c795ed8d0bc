"""Many guests at once on one host: 64 threads of one process beside 200 processes, 20,000 calls in all.

Every call is answered, with its own answer, and nothing is left in the host. The guests are programs in C, so that
threads really run at the same time; each process is a separate family, and all stand in line for the same CPUs.
"""

from __future__ import annotations

import os
import subprocess

import pytest
from runner.hosts import CPUS, FAKE_HOSTS, Host
from runner.languages import c_program
from runner.unbuilt import Missing, without
from runner.wire import HANG_GUARD_S

THREADS, THREAD_ROUNDS = 64, 54
PROCESSES, PROCESS_ROUNDS = 200, 17
CALLS = 3 * (THREADS * THREAD_ROUNDS + PROCESSES * PROCESS_ROUNDS)


@pytest.mark.parametrize("kind", FAKE_HOSTS)
def test_no_reply_is_lost(kind: str) -> None:
    assert CALLS >= 20_000
    try:
        storm, host = c_program("storm"), Host(kind)
    except Missing as reason:
        without(reason)
    open_at_first = host.descriptors()
    env = os.environ | {"GRIDCENTRIC_HOST": host.address}
    sizes = [(THREADS, THREAD_ROUNDS)] + [(1, PROCESS_ROUNDS)] * PROCESSES
    guests = [
        subprocess.Popen([storm, str(threads), str(rounds)], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for threads, rounds in sizes
    ]
    answered = 0
    for guest in guests:
        said, errors = guest.communicate(timeout=HANG_GUARD_S)
        assert guest.returncode == 0, errors
        answered += int(said)
    assert answered == CALLS
    host.command("advance", 0)
    assert host.command("dump") == [["cpus", str(CPUS), str(CPUS)], ["queue", "0"]]
    assert host.descriptors() == open_at_first
    host.stop()
