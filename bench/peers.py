"""gridcentric beside what else makes many of one: plain fork, sandlock, forkserver, Node's cluster, starting processes.

Each template (programs/peers.py, peers.js) has 100,000 objects. "Answered" means that a copy has connected to a socket of ours
and said how many it has; memory is the PSS of all copies while their connections are open. For VMs see the rows of qemu.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from .report import Figure
from .servers import PROGRAMS, command_of, pss_mib

CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
FEW, MANY = 61, 1000
NAMES = {
    "fork": "plain fork() of a single-threaded template",
    "gridcentric": "gridcentric: clone()",
    "sandlock": "sandlock: fork(), each copy sandboxed",
    "forkserver": "multiprocessing, forkserver",
    "cluster": "Node: cluster.fork()",
    "starting": "starting Python processes",
}
AT_MANY = ("fork", "gridcentric", "sandlock")  # the others take the memory of a process each


def copies_of(way: str, copies: int) -> tuple[float, float, float | None]:
    """ms until the last has answered, MiB of all copies, ms of the template's pause (None: it goes on)."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path, trace = f"{folder}/answers", Path(folder) / "trace"
        listener.bind(path)
        listener.listen(copies)
        listener.settimeout(120)
        program = "peers.js" if way == "cluster" else "peers.py"
        environment = os.environ | {
            "GRIDCENTRIC_TRACE": str(trace),
            "GRIDCENTRIC_CPUS": str(copies),
            "PYTHONPATH": str(PROGRAMS),
        }
        template = subprocess.Popen(
            [*command_of(program), way, str(copies), path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert template.stdin and template.stdout
        template.stdout.readline()
        connections: list[socket.socket] = []
        try:
            start = time.perf_counter()
            template.stdin.write("go\n")
            template.stdin.flush()
            while len(connections) < copies:
                connections.append(listener.accept()[0])
            if any(connection.recv(20) != b"100000\n" for connection in connections):
                raise RuntimeError(f"a copy by {way} does not have the state")
            ms = (time.perf_counter() - start) * 1e3
            held = float(template.stdout.readline())
            credentials = (c.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size) for c in connections)
            mib = sum(pss_mib([CREDENTIALS.unpack(c)[0] for c in credentials]).values())
        finally:
            for connection in connections:
                connection.close()
            template.kill()
            template.wait()
        if way == "gridcentric":
            return ms, mib, float(json.loads(trace.read_text().splitlines()[-1])["pause_ms"])
        return ms, mib, held if way == "fork" else None


def peers() -> list[Figure]:
    """61 and 1,000 copies of a program with state: plain fork, gridcentric, sandlock, forkserver, Node's cluster, starting"""
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files[1], open_files[1]))
    figures = []
    for copies in (FEW, MANY):
        fork_ms = None
        for way, name in NAMES.items():
            if copies == MANY and way not in AT_MANY:
                continue
            if way == "sandlock" and importlib.util.find_spec("sandlock") is None:
                print("  sandlock is not installed (pip install sandlock): not measured")
                continue
            ms, mib, pause = copies_of(way, copies)
            fork_ms = fork_ms or ms
            figures.append(Figure("peers", f"{copies:,} copies, all answered: {name}", ms, "ms", "plain fork()", fork_ms,
                                  details={"mib": mib, "pause_ms": pause}))  # fmt: skip
            stopped = "the template goes on" if pause is None else f"the template stops for {pause:.1f} ms"
            print(f"  {copies:,} by {way}: {ms:,.0f} ms, {mib:,.0f} MiB; {stopped}")
    return figures
