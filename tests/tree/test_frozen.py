"""For several clones a program stands still only until there is a frozen copy of each of its processes: it goes on before the
first clone is made, and what it closes then is closed for good, although the copies still have what they need of it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from interception import Interception
from runner.hosts import gc_binary

HANG_GUARD_S = 60
KINDS = {"pipe", "unix", "tcp"}
# A process and its child, which waits for the end of each connection between the two; the namespace tells which clone it is in.
PROGRAM = """
import os, socket, time
reader, writer = os.pipe()
ours, theirs = socket.socketpair()
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
listener.close()
child = os.fork()
if not child:
    os.close(writer), ours.close(), client.close()
    for kind, end in ("pipe", reader), ("unix", theirs.fileno()), ("tcp", server.fileno()):
        assert os.read(end, 1) == b""
        with open(f"closed.{os.stat('/proc/self/ns/pid').st_ino}", "a") as file:
            file.write(kind + "\\n")
    os._exit(0)
os.close(reader), theirs.close(), server.close()
print("ready", flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
os.close(writer), ours.close(), client.close()
os.waitpid(child, 0)
while not os.path.exists("end"):
    time.sleep(0.01)
"""


def closed(folder: Path) -> list[set[str]]:
    """What each domain's child has seen the end of."""
    return [set(file.read_text().split()) for file in folder.glob("closed.*")]


class Holder:
    """Keeps a copy from joining a clone until the program has closed all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seen: list[set[str]] = []

    def __call__(self, pid: int) -> None:
        if self.seen:
            return
        (self._folder / "go").touch()
        end = time.monotonic() + HANG_GUARD_S
        while KINDS not in self.seen and time.monotonic() < end:
            self.seen = closed(self._folder)
            time.sleep(0.01)


def test_the_program_goes_on_before_its_clones_are_made(tree: Any) -> None:
    holder = Holder(tree.folder)
    (tree.folder / "program.py").write_text(PROGRAM)
    master = tree.start(sys.executable, "program.py", interception=Interception(["setns"], holder))
    assert master.stdout.readline() == "ready\n"
    command = [gc_binary(), "clone", "--of", str(master.pid), "-n", "2"]
    said = subprocess.run(command, env=tree.environment, capture_output=True, text=True, check=False, timeout=2 * HANG_GUARD_S)
    assert (said.returncode, said.stderr) == (0, "")
    assert holder.seen == [KINDS]
    end = time.monotonic() + HANG_GUARD_S
    while closed(tree.folder) != [KINDS] * 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert closed(tree.folder) == [KINDS] * 3
    (tree.folder / "end").touch()
    assert master.wait(HANG_GUARD_S) == 0
