"""The servers that are measured: start one, query it, query many at once, read their memory. Knows nothing of rows."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"


JAR = ROOT / ".venv" / "share" / "gridcentric" / "gridcentric.jar"


def has_java() -> bool:
    """Says so if not."""
    if shutil.which("javac") and JAR.exists():
        return True
    print(f"  Java is left out: there is no JDK, or no {JAR} (run `make build`)")
    return False


@functools.cache
def java_classes(program: str) -> str:
    """The folder with the compiled program, so that starting it compiles nothing."""
    folder = tempfile.mkdtemp(prefix="gridcentric-bench-")
    atexit.register(shutil.rmtree, folder)
    subprocess.run(["javac", "--release", "17", "-cp", str(JAR), "-d", folder, str(PROGRAMS / program)], check=True)
    return folder


def command_of(program: str, flags: Iterable[str] = ()) -> list[str]:
    """flags are those of Node, Python or the JVM."""
    if program.endswith(".java"):
        return ["java", *flags, "-cp", f"{JAR}:{java_classes(program)}", Path(program).stem]
    runner = "node" if program.endswith(".js") else str(ROOT / ".venv" / "bin" / "python")
    return [runner, *flags, str(PROGRAMS / program)]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        return int(s.getsockname()[1])


class Server:
    """One program of bench/programs on its own port (which it prints); ends with the `with` block.

    It leads a process group, which includes its clones.
    """

    def __init__(self, program: str, *args: str, flags: Iterable[str] = (), env: dict[str, str] | None = None) -> None:
        self._port: int | None = None
        command = [*command_of(program, flags), *args]
        full = os.environ | {"NODE_PATH": str(ROOT / "node_modules")} | (env or {})
        self.started = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=full, start_new_session=True)

    def __enter__(self) -> Server:
        assert self.port, "it listens"
        return self

    @property
    def port(self) -> int:
        """Waits until the server listens."""
        if self._port is None:
            assert self.process.stdout is not None
            words = self.process.stdout.readline().split()
            if words[:1] != [b"ready"]:
                raise RuntimeError(f"the server did not start: exit code {self.process.wait()}")
            self._port = int(words[1])
        return self._port

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, path: str = "/", timeout: float = 120) -> dict[str, Any]:
        return asyncio.run(ask("127.0.0.1", self.port, path, timeout))


def length_of(head: bytes) -> int | None:
    lines = (line.lower() for line in head.split(b"\r\n"))
    return next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), None)


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> dict[str, Any]:
    """One request and its answer; the connection is closed."""
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = length_of(head)
        body = await (reader.readexactly(length) if length is not None else reader.read())
        if b"chunked" in head.lower():
            body = body.split(b"\r\n")[1]
        result: dict[str, Any] = json.loads(body)
        if "error" in result:
            raise RuntimeError(f"{path}: {result['error']}")
        return result
    finally:
        writer.close()


async def ask(host: str, port: int, path: str = "/", timeout: float = 120) -> dict[str, Any]:
    async def all_of_it() -> dict[str, Any]:
        return await talk(*await asyncio.open_connection(host, port), path)

    return await asyncio.wait_for(all_of_it(), timeout)


async def send(host: str, port: int, requests: int) -> None:
    """That many requests, one after the other on one connection."""
    reader, writer = await asyncio.open_connection(host, port)
    for _ in range(requests):
        writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        await reader.readexactly(length_of(await reader.readuntil(b"\r\n\r\n")) or 0)
    writer.close()


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
    """Request n clones and query each on its own address, from its creation until it has answered."""
    start = time.perf_counter()
    call = await ask("127.0.0.1", server.port, f"/clone?n={n}")
    new = [c for c in call["clones"] if c["vmid"] >= first_vmid]
    answers = await asyncio.gather(*(_until(c["ip"], server.port, c["vmid"], start + 120) for c in new))
    call["all_answered_ms"] = (time.perf_counter() - start) * 1e3
    call["answers"] = answers
    if len(answers) != n or any(a["state"] != f"state-{server.process.pid}" for a in answers):
        raise RuntimeError(f"{n} clones were requested, but {len(answers)} answered with inherited state")
    return call


def start_many(n: int, program: str, *arguments: str) -> float:
    """ms until n freshly started servers have all answered."""
    start = time.perf_counter()
    servers = [Server(program, *arguments) for _ in range(n)]
    try:
        with ThreadPoolExecutor(n) as waiting:  # each is queried as soon as it listens

            async def answer(server: Server) -> None:
                port = await asyncio.get_running_loop().run_in_executor(waiting, lambda: server.port)
                await _until("127.0.0.1", port, None, start + 300)

            async def all_() -> None:
                await asyncio.gather(*(answer(s) for s in servers))

            asyncio.run(all_())
        return (time.perf_counter() - start) * 1e3
    finally:
        for s in servers:
            s.process.kill()
        for s in servers:
            s.process.wait()


def rollup_mib(pid: int) -> dict[str, float]:
    """The sums over all mappings of a process, by their names in /proc/PID/smaps_rollup."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) / 1024 for name, _, value in (row.partition(":") for row in rows)}


def pss_mib(pids: Iterable[int]) -> dict[int, float]:
    result = {}
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            result[pid] = rollup_mib(pid)["Pss"]
    return result


def clones_of(master: int) -> list[int]:
    """The clones' processes of a master that leads a process group: those with its name (not gc-reaper)."""
    name = Path(f"/proc/{master}/comm").read_text()
    found = []
    for entry in os.listdir("/proc"):
        try:
            other = entry.isdigit() and int(entry) != master and os.getpgid(int(entry)) == master
            if other and Path(f"/proc/{entry}/comm").read_text() == name:
                found.append(int(entry))
        except OSError:  # it ended meanwhile
            continue
    return found
