"""One policy: what explain() and `gc check` say about the processes of a tree is what happens when it is cloned.

GC_REPEAT=N plays each N times.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from runner.hosts import gc_binary

repeated = pytest.mark.parametrize("repeat", range(int(os.environ.get("GC_REPEAT", "1"))))

# A child that says when it is as it wants to be.
CHILD = """
import subprocess, sys

def child(text, **more):
    process = subprocess.Popen(
        [sys.executable, "-c", text + "; print('ready', flush=True); import time; time.sleep(300)"],
        stdout=subprocess.PIPE, text=True, **more)
    process.stdout.readline()
    return process
"""
REFUSED = (
    CHILD
    + """
import json, os, signal
from gridcentric import guest

fault = child("import ctypes; ctypes.CDLL(None).syscall(323, 1)")
traced = child("import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)")
stopped = child("import os")
os.kill(stopped.pid, signal.SIGSTOP)
os.waitpid(stopped.pid, os.WUNTRACED)
print(json.dumps([child.pid for child in (fault, traced, stopped)]), flush=True)
print(json.dumps(guest.explain()), flush=True)
signal.pause()
"""
)


def check(tree: Any, pid: int) -> dict[str, Any]:
    said = subprocess.run(
        [gc_binary(), "check", "--json", str(pid)],
        env=tree.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(said.stdout)
    assert said.returncode == (0 if answer["can_clone"] else 1), said
    return answer


def lines(report: str, kind: str) -> list[str]:
    """Of what explain() says, or `gc check`."""
    return [line[len(kind) :] for line in report.splitlines() if line.startswith(kind)]


def wait_for_end(pid: int) -> None:
    """Of a process whose parent may never ask for its exit status."""
    with contextlib.suppress(FileNotFoundError):
        while "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            time.sleep(0.001)


@repeated
def test_what_refuses_a_child_is_said_beforehand_in_the_same_words(tree: Any, repeat: int) -> None:
    root = tree.start(sys.executable, "-c", REFUSED)
    pids = json.loads(root.stdout.readline())
    can_clone, report = json.loads(root.stdout.readline())
    said = check(tree, root.pid)
    assert said["refusals"] == lines(report, "refused: "), said
    reasons = [
        "descriptor 3 is a userfaultfd, which can't be cloned; close it first",
        f"process {root.pid} traces it (a debugger, strace): detach it first",
        "it is stopped (SIGSTOP): let it go on with SIGCONT",
    ]
    assert not can_clone and len(said["refusals"]) == len(reasons)
    while said["refusals"]:  # the clone meets them one after the other
        tried = subprocess.run(
            [gc_binary(), "clone", "--of", str(root.pid), "-n", "1"],
            env=tree.environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        met = [refusal for refusal in said["refusals"] if refusal in tried.stderr]
        assert len(met) == 1, (tried, said)
        pid = next(pid for pid in pids if met[0].startswith(f"process {pid} (python"))
        assert met[0].endswith(reasons[pids.index(pid)])
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        left = [refusal for refusal in said["refusals"] if refusal != met[0]]
        said = check(tree, root.pid)
        assert said["refusals"] == left
    assert (said["can_clone"], said["processes"], said["root"]) == (True, 1, root.pid)
    os.killpg(root.pid, signal.SIGKILL)
    root.wait()


# Pipes between the processes, a listener of two, a lock of a child, and the end of a pipe to the outside.
HAZARDS = (
    CHILD
    + """
import os, socket, time
from gridcentric import guest

listener = socket.socket(socket.AF_UNIX)
listener.bind("listener")
listener.listen()
outside = os.open("outside", os.O_RDWR)
shares = child("import os", pass_fds=[listener.fileno()])
locks = child("import fcntl; file = open('file', 'w'); fcntl.flock(file, fcntl.LOCK_EX)")
talks = subprocess.Popen("sleep 300 | cat", shell=True)
dead_end = child("import os; end = os.open('outside', os.O_WRONLY)")
while len(open(f"/proc/{talks.pid}/task/{talks.pid}/children").read().split()) < 2:
    time.sleep(0.01)
print(listener.fileno(), locks.pid, dead_end.pid, flush=True)
os.close(outside)
ticket = guest.request_ticket(1, 1, 1, 5000)
guest.clone(ticket)
report = [line for line in guest.explain().report.splitlines() if "random numbers" not in line]
os.write(1, ("|".join(report) + "\\n").encode())
time.sleep(300)
"""
)


@repeated
def test_what_a_child_has_is_listed_with_its_pid(tree: Any, repeat: int) -> None:
    os.mkfifo(tree.folder / "outside")
    outside = os.open(tree.folder / "outside", os.O_RDWR)
    root = tree.start(sys.executable, "-c", HAZARDS)
    listener, locks, dead_end = root.stdout.readline().split()
    reports = [root.stdout.readline().strip().split("|") for _ in range(2)]
    said = check(tree, root.pid)
    assert (said["can_clone"], said["processes"], said["refusals"]) == (True, 7, [])
    notes = [note for note in said["notes"] if "random numbers" not in note]
    assert len(notes) == 3, notes
    assert notes[0] == f"descriptor {listener}: listening Unix socket, its path stays the master's"
    assert notes[1].startswith(f"process {locks} (python") and "/file): the file lock stays" in notes[1]
    assert notes[2].startswith(f"process {dead_end} (python") and "a pipe to the outside" in notes[2]
    for report in reports:
        assert "(mode pidns, 7 processes, " in report[0], report
    assert ["note: " + note for note in notes] in [report[1:] for report in reports]
    os.close(outside)
    os.killpg(root.pid, signal.SIGKILL)
    root.wait()
