"""A process of a tree, or of a clone of it, is killed at a certain point of the clone: the others notice at once, `gc clone`
comes back, the program goes on, and nothing is left. GC_POINTS=N kills at each of the first N calls of each kind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from interception import Interception
from runner.hosts import gc_binary

from gridcentric import _paths

NOTICED_S = 15  # the engine's own limits are 20 s and more
POINTS = int(os.environ.get("GC_POINTS", "0"))

SCRIPT = """
sleep 300 | sleep 300 &
exec 5<> $0
sleep 300 &
echo ready
while :; do sleep 0.1; done
"""

# What processes do, more or less in the order in which they come: frozen copies begin, helpers end, reapers are started, copies
# forked, joined, and rebuilt.
CALLS = {
    "prctl": 4, "exit_group": 8, "clone3": 5, "setns": 4, "setsid": 2, "setpgid": 2, "pidfd_getfd": 4, "set_robust_list": 4,
    "rseq": 3, "execveat": 5,
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


def clone_while_killing(tree: Any, clones: int, call: str, nth: int) -> bool:
    """False: the call was not made that often."""
    killer = Killer(nth)
    (tree.folder / "script").write_text(SCRIPT)
    master = tree.start("bash", "script", interception=Interception([call], killer))
    assert master.stdout.readline() == "ready\n"
    command = [gc_binary(), "clone", "--of", str(master.pid)]
    killer.armed = True
    said = subprocess.run(
        [*command, "-n", str(clones)], env=tree.environment, capture_output=True, text=True, check=False, timeout=NOTICED_S
    )
    assert said.returncode == 0 or said.stderr.startswith("gc clone: "), said
    print(call, clones, nth, killer.killed, said)
    if master.poll() is None:
        again = subprocess.run(command, env=tree.environment, capture_output=True, text=True, check=False, timeout=NOTICED_S)
        assert again.returncode == 0 or again.stderr.startswith("gc clone: "), again
    os.killpg(master.pid, signal.SIGKILL)
    master.wait()
    return bool(killer.killed)


# Becomes the gc-reaper of a clone that soon ends. The other child is a stand-in that no page names.
WITH_STAND_IN = """
import os, signal, sys
reaper = sys.argv[1]
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
stand_in = os.fork()
if stand_in == 0:
    os.execv(reaper, ["gc-reaper", "stand-in", "-1", "1"])
clone = os.fork()
if clone == 0:
    while not os.path.samefile(f"/proc/{stand_in}/exe", reaper):
        pass
    os._exit(7)
os.execv(reaper, ["gc-reaper", str(clone), "free", "0"])
"""


def test_a_stand_in_does_not_keep_its_clone_from_ending() -> None:
    reaper = Path(_paths.GC).with_name("gc-reaper")
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*alone, sys.executable, "-c", WITH_STAND_IN, str(reaper)]
    assert subprocess.run(command, check=False, timeout=NOTICED_S).returncode == 7


@pytest.mark.parametrize("clones", [1, 2])  # made from the program itself, and from frozen copies of it
@pytest.mark.parametrize("call", CALLS)
def test_a_process_is_killed_at_a_call(tree: Any, call: str, clones: int) -> None:
    for nth in range(POINTS) if POINTS else (CALLS[call] // 2,):
        if not clone_while_killing(tree, clones, call, nth):
            break
        tree.close()
