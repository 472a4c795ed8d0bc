"""A parent that waits for its child when both are cloned goes on waiting, in each clone for the child there."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from from_outside import HANG_GUARD_S, clone_of

PROGRAM = """
import os, sys, time
child = os.fork()
if not child:
    while not os.path.exists("end"):
        time.sleep(0.001)
    os._exit(7)
print("ready", flush=True)
if sys.argv[1] == "waitpid":
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
else:
    status = os.waitid(os.P_PID, child, os.WEXITED).si_status
os.write(1, f"{status}\\n".encode())
while not os.path.exists("over"):
    time.sleep(0.001)
"""


@pytest.mark.parametrize("clones", [1, 2])
@pytest.mark.parametrize("call", ["waitpid", "waitid"])
def test_a_parent_that_waits_for_its_child(tree: Any, call: str, clones: int) -> None:
    (tree.folder / "program.py").write_text(PROGRAM)
    master = tree.start(sys.executable, "program.py", call)
    assert master.stdout.readline() == "ready\n"
    clone_of(master.pid, clones, tree.environment)
    (tree.folder / "end").touch()
    assert [master.stdout.readline() for _ in range(clones + 1)] == ["7\n"] * (clones + 1)
    (tree.folder / "over").touch()
    assert master.wait(HANG_GUARD_S) == 0
