"""A program whose threads all have one alternate signal stack, as those of Varnish: stopped there, they would write over one
another's state."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from from_outside import HANG_GUARD_S, clone_of

PROGRAM = """
import ctypes, os, sys, threading, time

class Stack(ctypes.Structure):
    _fields_ = [("memory", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

memory = ctypes.create_string_buffer(1 << 16)
stack = Stack(ctypes.addressof(memory), 0, len(memory))
began = threading.Semaphore(0)

def work():
    assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0
    began.release()
    while not os.path.exists("end"):
        time.sleep(0.001)

def all_work():
    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [began.acquire() for _ in threads]
    print("ready", flush=True)
    [thread.join() for thread in threads]
    os.write(1, b"whole\\n")
    while not os.path.exists("over"):
        time.sleep(0.001)

if "child" in sys.argv:
    child = os.fork()
    if not child:
        all_work()
        os._exit(0)
    os.waitpid(child, 0)
else:
    all_work()
"""


@pytest.mark.parametrize("options", [("--tree",), ()], ids=["tree", "alone"])
def test_threads_share_an_alternate_stack(tree: Any, options: tuple[str, ...]) -> None:
    (tree.folder / "program.py").write_text(PROGRAM)
    who = ["child"] if options else []
    master = tree.start(sys.executable, "program.py", *who, options=options)
    assert master.stdout.readline() == "ready\n"
    clone_of(master.pid, 2, tree.environment)
    (tree.folder / "end").touch()
    assert [master.stdout.readline() for _ in range(3)] == ["whole\n"] * 3
    (tree.folder / "over").touch()
    assert master.wait(HANG_GUARD_S) == 0
