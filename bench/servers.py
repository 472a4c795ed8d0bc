"""Servers under measurement: start one, ask it, ask many at once, read their memory. Knows nothing of rows."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        return int(s.getsockname()[1])


class Server:
    """One program of bench/programs on a port of its own; ends with the `with` block."""

    def __init__(self, program: str, *args: str, env: dict[str, str] | None = None) -> None:
        self.port = free_port()
        runner = "node" if program.endswith(".js") else str(ROOT / ".venv" / "bin" / "python")
        command = [runner, str(PROGRAMS / program), str(self.port), *args]
        full = os.environ | {"NODE_PATH": str(ROOT / "node_modules")} | (env or {})
        self.started = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=full)

    def __enter__(self) -> Server:
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the server did not start: exit code {self.process.wait()}")

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, path: str = "/", timeout: float = 120) -> dict[str, Any]:
        return asyncio.run(ask("127.0.0.1", self.port, path, timeout))


async def ask(host: str, port: int, path: str = "/", timeout: float = 120) -> dict[str, Any]:
    async def talk() -> dict[str, Any]:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), None
            )
            body = await (reader.readexactly(length) if length is not None else reader.read())
            if b"chunked" in head.lower():
                body = body.split(b"\r\n")[1]
            result: dict[str, Any] = json.loads(body)
            if "error" in result:
                raise RuntimeError(f"{path}: {result['error']}")
            return result
        finally:
            writer.close()

    return await asyncio.wait_for(talk(), timeout)


async def _until(host: str, port: int, vmid: int | None, deadline: float) -> dict[str, Any]:
    while True:
        try:
            result = await ask(host, port, timeout=10)
            if vmid is None or result["vmid"] == vmid:
                return result
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            pass
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{host}:{port} never answered as {vmid}")
        await asyncio.sleep(0.002)


async def clone_and_ask(server: Server, n: int, first_vmid: int = 1) -> dict[str, Any]:
    """Ask for n clones and, from their birth on, each of them on its own address until it has answered."""
    start = time.perf_counter()
    call = await ask("127.0.0.1", server.port, f"/clone?n={n}")
    new = [c for c in call["clones"] if c["vmid"] >= first_vmid]
    answers = await asyncio.gather(*(_until(c["ip"], server.port, c["vmid"], start + 120) for c in new))
    call["all_answered_ms"] = (time.perf_counter() - start) * 1e3
    call["answers"] = answers
    if len(answers) != n or any(a["state"] != f"state-{server.port}" for a in answers):
        raise RuntimeError(f"{n} clones were asked for, {len(answers)} answered with inherited state")
    return call


def start_many(program: str, n: int) -> float:
    """ms until n freshly started servers have all answered."""
    start = time.perf_counter()
    servers = [Server(program) for _ in range(n)]
    try:

        async def all_() -> None:
            await asyncio.gather(*(_until("127.0.0.1", s.port, None, start + 300) for s in servers))

        asyncio.run(all_())
        return (time.perf_counter() - start) * 1e3
    finally:
        for s in servers:
            s.process.kill()
        for s in servers:
            s.process.wait()


def descendants(pid: int) -> list[int]:
    """All processes below pid, gc-reapers included."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(entry))
    found, line = [], [pid]
    while line:
        children = parents.get(line.pop(), [])
        found += children
        line += children
    return found


def pss_mib(pids: Iterable[int]) -> dict[int, float]:
    result = {}
    for pid in pids:
        try:
            for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if row.startswith("Pss:"):
                    result[pid] = int(row.split()[1]) / 1024
        except (OSError, ProcessLookupError):
            continue
    return result


def clones_of(pid: int) -> list[int]:
    """The processes of the clones below a master: those with its own name, not gc-reaper or gc."""
    name = Path(f"/proc/{pid}/comm").read_text()
    found = []
    for p in descendants(pid):
        try:
            if Path(f"/proc/{p}/comm").read_text() == name:
                found.append(p)
        except OSError:
            continue
    return found
