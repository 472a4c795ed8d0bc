"""What `make demo` starts ends with it, whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from demo_harness import DEMOS, ROOT, Demo, demo

# `make demo` without its build (-o): the sessions have built.
MAKE = ["make", "--no-print-directory", "-C", str(ROOT), "-o", "build", "demo"]
RUN = [str(DEMOS / "run")]


def run(folder: Path, test: Any) -> None:
    async def main() -> None:
        async with demo(folder) as started:
            await test(started)

    asyncio.run(main())


async def start(chat: Demo, command: list[str], crowd: int) -> None:
    """Until users are on clones, or, without a crowd, until the page is there."""
    options = {"PORT": str(chat.port), "APP": "node", "CROWD": str(crowd), "HYPERVISOR": "process"}
    await chat.start(
        [*command, *(f"{k}={v}" for k, v in options.items() if command is MAKE)], **options, VIRTUAL_ENV=sys.prefix
    )
    if not crowd:
        await chat.reachable(chat.url)
    while crowd and "users on" not in (text := chat.log.read_text()):
        assert chat.process.returncode is None, text
        await asyncio.sleep(0.05)


def send(chat: Demo, number: signal.Signals) -> None:
    """INT, QUIT and HUP come from a terminal, to all in the foreground; others are sent to the one process."""
    if number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        os.killpg(chat.process.pid, number)
    else:
        chat.process.send_signal(number)


@pytest.mark.parametrize("crowd", [0, 2])
@pytest.mark.parametrize("command", [MAKE, RUN], ids=["make", "run"])
@pytest.mark.parametrize("number", ["INT", "TERM", "HUP", "QUIT", "KILL"])
def test_a_signal_ends_all(number: str, command: list[str], crowd: int, tmp_path: Path) -> None:
    async def test(chat: Demo) -> None:
        await start(chat, command, crowd)
        send(chat, signal.Signals[f"SIG{number}"])
        await chat.nothing_left()

    run(tmp_path, test)


@pytest.mark.parametrize("number", ["INT", "TERM", "HUP", "QUIT"])
def test_a_signal_to_the_script_alone_ends_all(number: str, tmp_path: Path) -> None:
    async def test(chat: Demo) -> None:
        await start(chat, RUN, crowd=2)
        chat.process.send_signal(signal.Signals[f"SIG{number}"])
        await chat.nothing_left()
        assert chat.process.returncode == 128 + signal.Signals[f"SIG{number}"]

    run(tmp_path, test)


def server_of(chat: Demo) -> int:
    """The chat's own process, found by its parent: clones have the same command line."""
    for pid in chat.processes():
        with contextlib.suppress(OSError):
            about = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if int(about[1]) == chat.process.pid and b"server.js" in command:
                return pid
    raise AssertionError(f"no server below {chat.process.pid}")


def test_when_the_server_ends_first_the_crowd_ends_too(tmp_path: Path) -> None:
    async def test(chat: Demo) -> None:
        await start(chat, RUN, crowd=2)
        os.kill(server_of(chat), signal.SIGKILL)
        await chat.nothing_left()
        assert chat.process.returncode == 128 + signal.SIGKILL

    run(tmp_path, test)


@pytest.mark.parametrize("which", [0, 1], ids=["port", "next port"])
def test_a_port_in_use_is_named(which: int, tmp_path: Path) -> None:
    async def test(chat: Demo) -> None:
        taken = (chat.port, chat.app_port)[which]
        with socket.create_server(("127.0.0.1", taken)):
            await chat.start(RUN, PORT=str(chat.port), APP="node", CROWD="0", HYPERVISOR="", VIRTUAL_ENV=sys.prefix)
            assert await chat.process.wait() == 2
        assert re.search(rf"port {taken} is in use: choose another", chat.log.read_text())
        await chat.nothing_left()

    run(tmp_path, test)
