"""What a clone leaves behind ends with it, except the clones that it has made: those are domains themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HANG_GUARD_S = 120

# Clone 1 starts a child that ignores every signal it can, makes clone 2 and ends; clone 2 stays until it is told to end.
PROGRAM = """
import os, signal, subprocess, sys, time
from gridcentric import guest

name, told = sys.argv[1:]
ticket = guest.request_ticket(1, 1, 1, 0)
if guest.clone(ticket) > 0:
    subprocess.Popen(
        ["sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done", name], start_new_session=True
    )
    if guest.clone(guest.request_ticket(1, 1, 1, 0)) > 0:
        while not os.path.exists(told):
            time.sleep(0.01)
        guest.join("told")
    os._exit(7)
print([result.status for result in guest.wait(ticket, -1)], flush=True)
sys.stdin.read()
print([domain.vmid for domain in guest.list_domains()], flush=True)
open(told, "w").close()
while len(guest.list_domains()) > 1:
    time.sleep(0.01)
"""


def running(word: str) -> list[str]:
    """The processes with this word in their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(entry.name)
        except OSError:
            continue
    return found


def gone(word: str) -> None:
    until = time.monotonic() + HANG_GUARD_S
    while running(word):
        assert time.monotonic() < until, f"{word} still runs"
        time.sleep(0.01)


@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_what_a_clone_leaves_behind(mode: str, tmp_path: Path) -> None:
    name = f"left-behind-{mode}-{os.getpid()}"
    master = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name, str(tmp_path / "told")],
        env=os.environ | {"GRIDCENTRIC_CLONE_MODE": mode},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert master.stdin
    assert master.stdout
    try:
        assert master.stdout.readline() == "[7]\n"
        # The master and the clone that prints: both have the name among their arguments too.
        until = time.monotonic() + HANG_GUARD_S
        while len(running(name)) > 2:
            assert time.monotonic() < until, f"what clone 1 left behind still runs: {running(name)}"
            time.sleep(0.01)
        master.stdin.close()
        assert master.stdout.readline() == "[0, 2]\n"
        assert master.wait(HANG_GUARD_S) == 0
        gone(name)
    finally:
        master.kill()
        master.wait()
