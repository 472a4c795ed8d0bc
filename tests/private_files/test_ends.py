"""Nothing is left of a sandbox, whoever of it is killed at whatever moment."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from runner.hosts import wait_until
from sandboxes import HANG_GUARD_S, REPEAT, Sandbox

SCRIPT = """
head -c 3000000 /dev/zero > data; echo ready
for turn in 1 2 3 4 5 6; do
  ticket=$(gc rt 2 2 1 5000) && gc clone $ticket > /dev/null || exit 3
  gc ismaster || { echo x >> data; read nothing < never; }
done
read nothing < never
"""


def of_sandbox(sandbox: Sandbox) -> list[int]:
    """Processes that see its store or stand in its folder; gc-reapers among them."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and f" {sandbox.folder} " in Path("/proc", entry, "mountinfo").read_text():
                found.append(int(entry))
    return found


def state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "gone"


@pytest.mark.parametrize("victim", ["master", "anyone", "host"])
@pytest.mark.parametrize("repeat", REPEAT)
def test_somebody_is_killed(victim: str, repeat: int, mode: str, sandbox: Sandbox) -> None:
    chance = random.Random(f"{victim} {repeat} {mode}")
    sandbox.has(script=SCRIPT)
    os.mkfifo(sandbox.folder / "never")
    master = sandbox.start("bash", "script", mode=mode)
    assert master.stdout
    assert master.stdout.readline() == "ready\n"
    time.sleep(chance.random() * 0.3)  # any moment will do
    if victim == "host":
        rows = json.loads(sandbox.gc("ps", "--json").stdout)
        (host,) = {row["host"] for row in rows if row["pid"] == master.pid}
        (info,) = json.loads(sandbox.gc("host", "--info", "--json", host=host).stdout)
        os.kill(int(info["pid"]), signal.SIGKILL)
    else:
        pid = master.pid if victim == "master" else chance.choice(of_sandbox(sandbox))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        sandbox.gc("end", "--pid", str(master.pid))
    master.kill()  # a master goes on without a host
    master.communicate(timeout=HANG_GUARD_S)
    wait_until(lambda: all(state(pid) in ("gone", "Z") for pid in of_sandbox(sandbox)))
    (sandbox.folder / "never").unlink()
    assert sandbox.contents() == {"script": SCRIPT}
