"""Programs that a demo starts in VMs, whose clones are VMs too, and a way from them to the demo's servers on 127.0.0.1. Nothing
of this computer can be reached from a VM, so the demo connects to the VM, and relay.py there lends these connections. Knows no
demo."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

from gridcentric import _paths
from stage.programs import Programs, free_port

RELAY = Path(__file__).with_name("relay.py")
IDLE = 4  # connections that wait for somebody in the VMs
FOLDER = "/root/demo"


class Machines:
    """VMs that reach these ports of 127.0.0.1."""

    def __init__(self, programs: Programs, ports: Iterable[int]) -> None:
        self._programs, self._ports = programs, frozenset(ports)
        self._lent: set[asyncio.Task[None]] = set()

    async def start(
        self, folder: Path, *command: str, folders: Iterable[Path] = (), **more: object
    ) -> asyncio.subprocess.Process:
        """Boots a VM and runs a command there, with a copy of the folder as FOLDER, and of these in it."""
        tunnel = free_port()
        copied = [f"--copy={RELAY}:/root/relay.py", f"--copy={folder}:{FOLDER}"]
        copied += [f"--copy={one}:{FOLDER}/{one.name}" for one in folders]
        inside = ["python3", "/root/relay.py", *map(str, (tunnel, *sorted(self._ports))), "--", *command]
        run = [str(_paths.GC), "run", "--hypervisor", "qemu", *copied, f"--publish={tunnel}:{tunnel}"]
        process = await self._programs.start(*run, "--", *inside, **more)
        for _ in range(IDLE):
            self._lend(tunnel, process)
        return process

    def _lend(self, tunnel: int, process: asyncio.subprocess.Process) -> None:
        task = asyncio.create_task(self._connection(tunnel, process))
        self._lent.add(task)
        task.add_done_callback(self._lent.discard)

    async def _connection(self, tunnel: int, process: asyncio.subprocess.Process) -> None:
        """Connects to the relay, again until somebody there needs the connection; then makes another in its place."""
        line = b""
        while not line and process.returncode is None:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", tunnel)
                line = await reader.readline()
                if not line:
                    writer.close()
            if not line:
                await asyncio.sleep(0.2)  # the VM is booting
        if not line:
            return
        self._lend(tunnel, process)
        with contextlib.suppress(OSError, ValueError):
            if int(line) in self._ports:
                await joined((reader, writer), await asyncio.open_connection("127.0.0.1", int(line)))
        writer.close()

    def close(self) -> None:
        for task in self._lent:
            task.cancel()


async def joined(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], other: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Passes on what either says, until both have said all."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    try:
        await asyncio.gather(copy(one[0], other[1]), copy(other[0], one[1]))
    finally:
        other[1].close()
