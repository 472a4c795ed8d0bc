"""A process of a tree, or of a clone of it, is killed at a certain point of the clone: the others notice at once, `gc clone`
comes back, the program goes on, and nothing is left. GC_POINTS=N kills at each of the first N calls of each kind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from interception import Interception
from runner.hosts import gc_binary

NOTICED_S = 15  # the engine's own limits are 20 s and more
POINTS = int(os.environ.get("GC_POINTS", "0"))

SCRIPT = """
sleep 300 | sleep 300 &
exec 5<> $0
sleep 300 &
echo ready
while :; do sleep 0.1; done
"""

# What processes do in the order in which they come: reapers are started, copies forked, joined, and rebuilt.
CALLS = {
    "clone3": 5, "setns": 4, "setsid": 2, "setpgid": 2, "pidfd_getfd": 4, "set_robust_list": 4, "rseq": 3, "execveat": 5,
}  # fmt: skip


class Killer:
    """Kills the process that is about to make a call for the nth time."""

    def __init__(self, nth: int) -> None:
        self._left = nth
        self.armed = False
        self.killed = ""

    def __call__(self, pid: int) -> None:
        if not self.armed or self.killed:
            return
        self._left -= 1
        if self._left < 0:
            with contextlib.suppress(OSError):
                self.killed = Path(f"/proc/{pid}/stat").read_text()[:40]
            os.kill(pid, signal.SIGKILL)


def clone_while_killing(tree: Any, call: str, nth: int) -> bool:
    """False: the call was not made that often."""
    killer = Killer(nth)
    (tree.folder / "script").write_text(SCRIPT)
    master = tree.start("bash", "script", interception=Interception([call], killer))
    assert master.stdout.readline() == "ready\n"
    command = [gc_binary(), "clone", "--of", str(master.pid)]
    killer.armed = True
    said = subprocess.run(
        [*command, "-n", "2"], env=tree.environment, capture_output=True, text=True, check=False, timeout=NOTICED_S
    )
    assert said.returncode == 0 or said.stderr.startswith("gc clone: "), said
    print(call, nth, killer.killed, said)
    if master.poll() is None:
        again = subprocess.run(command, env=tree.environment, capture_output=True, text=True, check=False, timeout=NOTICED_S)
        assert again.returncode == 0 or again.stderr.startswith("gc clone: "), again
    os.killpg(master.pid, signal.SIGKILL)
    master.wait()
    return bool(killer.killed)


@pytest.mark.parametrize("call", CALLS)
def test_a_process_is_killed_at_a_call(tree: Any, call: str) -> None:
    for nth in range(POINTS) if POINTS else (CALLS[call] // 2,):
        if not clone_while_killing(tree, call, nth):
            break
        tree.close()
