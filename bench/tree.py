"""The row of process trees: a program and its children, cloned together."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cloning import stages
from .report import Figure
from .servers import PROGRAMS, ROOT, free_port

CLONES, ROUNDS, HANG_GUARD_S = 10, 5, 60


def _ask(url: str) -> None:
    end = time.monotonic() + HANG_GUARD_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=HANG_GUARD_S) as answer:
                answer.read()
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.002)


def _all_answer(addresses: list[str], ports: list[int]) -> None:
    urls = [f"http://{address}:{port}/" for address in addresses for port in ports]
    with ThreadPoolExecutor(len(urls)) as pool:
        list(pool.map(_ask, urls))


def tree() -> list[Figure]:
    """ten clones of a tree of ten processes (a shell, two pipelines, a Python and a Node server), beside starting it once"""
    gc, ports = str(ROOT / ".venv" / "bin" / "gc"), [free_port(), free_port()]
    cloned, answered = [], []
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        command = [gc, "run", "--tree", "--", "bash", str(PROGRAMS / "tree.sh"), *map(str, ports)]
        began = time.monotonic()
        master = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"GRIDCENTRIC_TRACE": str(trace)}, start_new_session=True
        )
        try:
            _all_answer(["127.0.0.1"], ports)
            started = time.monotonic() - began
            for _ in range(ROUNDS):
                began = time.monotonic()
                said = subprocess.run([gc, "clone", "--of", str(master.pid), "-n", str(CLONES)],
                                      capture_output=True, text=True, check=True)  # fmt: skip
                cloned.append(time.monotonic() - began)
                addresses = [line.split()[2] for line in said.stdout.splitlines()]
                _all_answer(addresses, ports)
                answered.append(time.monotonic() - began)
                listed = json.loads(subprocess.run([gc, "ps", "--json"], capture_output=True, text=True, check=True).stdout)
                family = next(domain["family"] for domain in listed if domain["pid"] == master.pid)
                for domain in listed:
                    if domain["family"] == family and domain["vmid"]:
                        subprocess.run([gc, "end", family, str(domain["vmid"])], capture_output=True, check=True)
            traced = stages(trace)
        finally:
            os.killpg(master.pid, 9)
            master.wait()
    cloning, answering = statistics.median(cloned), statistics.median(answered)
    pause = statistics.median(line["pause_ms"] for line in traced)
    return [
        Figure("tree", f"{CLONES} clones of a tree of 10 processes", cloning * 1000, "ms", "starting it once, answered",
               started * 1000, "below 150 ms", cloning < 0.150),
        Figure("tree", f"{CLONES} clones of it, both servers answered", answering * 1000, "ms", "starting it once, answered",
               started * 1000),
        Figure("tree", "pause of its master", pause, "ms", bar="below 40 ms", met=pause < 40),
    ]  # fmt: skip
