"""Programs that a demo starts, and their data: all end with the demo, however that ends. Knows no demo."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from stage.performance import Failed, Refused

PATIENCE_S = 20  # for a program that was told to end; then it is killed


class Programs:
    """The running programs, and a folder for their data, which is removed with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self, *command: str, env: dict[str, str] | None = None, **more: Any) -> asyncio.subprocess.Process:
        """Starts a program in its own session, so that Ctrl-C reaches only the demo, which then ends the program. If the
        demo is killed, the kernel tells the program to end."""
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "TERM", "--", *command),
            env={**os.environ, **(env or {})},
            start_new_session=True,
            **{"stdin": asyncio.subprocess.DEVNULL, **more},
        )
        self._running.append(process)
        return process

    async def finished(self, *command: str, **more: Any) -> str:
        """Runs a program to its end and returns what it printed."""
        process = await self.start(*command, stdout=asyncio.subprocess.PIPE, **more)
        return await self.output(process, f"{Path(command[0]).name} {Path(command[1]).name}")

    async def output(self, process: asyncio.subprocess.Process, name: str) -> str:
        """What a program prints, which was started with a pipe for it, once it has ended."""
        printed, _ = await process.communicate()
        code = await self.end(process)
        if code:
            raise Failed(f"{name} failed with exit code {code}: {printed.decode()}")
        return printed.decode()

    async def end(self, process: asyncio.subprocess.Process, number: int = signal.SIGTERM) -> int:
        """Ends the program and what it has started in its session, and returns its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            await asyncio.wait_for(process.wait(), PATIENCE_S)
        except asyncio.TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
        code = await process.wait()
        if process in self._running:
            self._running.remove(process)
        return code

    async def end_all(self) -> None:
        """The last started ends first: what it uses is still there."""
        for process in reversed(self._running[:]):
            await self.end(process)


@contextlib.asynccontextmanager
async def programs() -> AsyncIterator[Programs]:
    """Programs for the time of a `with` block."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")  # it may name a folder that is not there, after su
    folder = Path(tempfile.mkdtemp(prefix="gridcentric-demo-", dir=runtime if runtime and Path(runtime).is_dir() else None))
    started = Programs(folder)
    try:
        yield started
    finally:
        await started.end_all()
        shutil.rmtree(folder, ignore_errors=True)


def required(command: str, package: str) -> str:
    """The path of a program, which Debian has in that package."""
    path = shutil.which(command, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if not path:
        raise Refused(f"{command} is missing: apt-get install {package}")
    return path


def free_port() -> int:
    """A port on which nothing listens now, for a server that cannot choose one itself, also after a restart: so none
    of those that the kernel gives to connections."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
