"""A template with state that is copied in one of several ways: peers.py WAY COPIES SOCKET.

It prints "ready", makes the copies when a line comes in, and prints how long that held it up, in ms. Each copy connects to
SOCKET, says what state it has, and ends when the connection does.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path


def state() -> dict[str, list[int]]:
    """Made by whoever asks first: the template, forkserver's server, each started process."""
    made: dict[str, list[int]] = importlib.import_module("peers_state").STATE
    return made


def answer(path: str) -> None:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendall(f"{len(state())}\n".encode())
    with contextlib.suppress(ConnectionResetError):
        connection.recv(1)


def by_fork(copies: int, path: str) -> None:
    for _ in range(copies):
        if os.fork() == 0:
            answer(path)
            os._exit(0)


def by_gridcentric(copies: int, path: str) -> None:
    guest = importlib.import_module("gridcentric.guest")
    if guest.clone(guest.request_ticket(copies, copies, 1, 1000)) > 0:
        answer(path)
        os._exit(0)


def by_sandlock(copies: int, path: str) -> None:
    sandlock = importlib.import_module("sandlock")
    sandbox = sandlock.Sandbox(
        fs_readable=["/"],
        fs_writable=[str(Path(path).parent)],
        max_processes=copies + 10,
        init_fn=lambda: None,
        work_fn=lambda _: answer(path),
    )
    threading.Thread(target=sandbox.fork, args=(copies,)).start()  # it returns when all copies have ended


def by_forkserver(copies: int, path: str) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["peers_state"])
    for _ in range(copies):
        context.Process(target=answer, args=(path,)).start()


def by_starting(copies: int, path: str) -> None:
    for _ in range(copies):
        subprocess.Popen([sys.executable, __file__, "answer", "1", path])


def main() -> None:
    way, copies, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if way == "answer":
        answer(path)
        return
    state()
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    globals()[f"by_{way}"](copies, path)
    print((time.perf_counter() - start) * 1e3, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
