"""The shell session and its clones, as the agent sees them: it sends command lines, and gets what they write. Knows no
changes, no tests and no page. session.sh is the other side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from stage.performance import Failed, Refused
from stage.programs import Programs, free_port

from gridcentric import _paths

HERE = Path(__file__).resolve().parent
PATIENCE_S = 120  # for a command: a session that takes longer is given up


class Session:
    """One domain: a shell, its server, its files."""

    def __init__(self, desk: Desk, vmid: int, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._desk, self._reader, self._writer = desk, reader, writer
        self.vmid, self.url = vmid, f"http://{address}:{desk.server_port}"

    async def run(self, command: str, said: Optional[Callable[[str], None]] = None) -> tuple[int, str]:
        """Carries out a command line; returns its status and what it has written. `said` gets each line at once."""
        try:
            self._writer.write(f"{command}\n".encode())
            return await asyncio.wait_for(self._end_of_command(said), PATIENCE_S)
        except (ConnectionError, asyncio.TimeoutError) as error:
            raise Failed(
                f"session {self.vmid} did not finish '{command}': {error or f'it took more than {PATIENCE_S} s'}"
            ) from None

    async def _end_of_command(self, said: Optional[Callable[[str], None]] = None) -> tuple[int, str]:
        lines: list[str] = []
        while True:
            line = (await self._reader.readline()).decode(errors="replace")
            if not line:
                raise ConnectionError("it has ended")
            # What a command writes need not end with a newline.
            before, mark, status = line.partition(f"{self._desk.token} ")
            if before:
                lines.append(before)
                if said:
                    said(before.rstrip("\n"))
            if mark:
                return int(status), "".join(lines)

    async def output(self, command: str) -> str:
        """What a command writes that must not fail."""
        status, text = await self.run(command)
        if status:
            raise Failed(f"session {self.vmid}: '{command}' failed with status {status}: {text}")
        return text

    async def fork(self, ways: int) -> tuple[list[Session], dict[str, float]]:
        """That many clones of it, by vmid; and how many ms it took until `gc clone` had returned here, and until the last
        clone's server had answered."""
        wanted = await self._ask()
        started = time.perf_counter()
        micros = await self.output(f"fork {ways}")
        clones = await self._desk.arrived(ways)
        answers = await asyncio.gather(*(clone._ask() for clone in clones))
        answered = (time.perf_counter() - started) * 1e3
        if any(answer != wanted for answer in answers):
            raise Failed(f"the servers of {ways} clones of session {self.vmid} said {answers}, expected {wanted} from each")
        for clone in clones:
            await asyncio.wait_for(clone._end_of_command(), PATIENCE_S)  # of "fork", which ends in each of them
        return clones, {"clone_ms": int(micros) / 1e3, "answered_ms": answered}

    async def _ask(self) -> dict[str, Any]:
        """What the server says about itself: only a clone of it can know the same number."""
        host, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            said: dict[str, Any] = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
            return said
        finally:
            writer.close()

    async def answers(self) -> None:
        """Returns when the server answers."""
        while True:
            with contextlib.suppress(ConnectionError):
                await self._ask()
                return
            await asyncio.sleep(0.02)

    def end(self) -> None:
        """The session ends when its connection does, with its server and its files."""
        self._writer.close()


class Desk:
    """Where sessions report to, on 127.0.0.1."""

    def __init__(self, programs: Programs) -> None:
        self._programs, self._arrivals = programs, asyncio.Queue[Session]()
        self.token, self.server_port = secrets.token_hex(8), free_port()

    async def __aenter__(self) -> Desk:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = (await reader.readline()).decode(errors="replace").split()
        if len(words) == 4 and words[:2] == ["hello", self.token]:
            self._arrivals.put_nowait(Session(self, int(words[2]), words[3], reader, writer))
        else:
            writer.close()

    async def arrived(self, count: int) -> list[Session]:
        try:
            found = [await asyncio.wait_for(self._arrivals.get(), PATIENCE_S) for _ in range(count)]
        except asyncio.TimeoutError:
            raise Failed(f"expected {count} sessions, but not all have connected within {PATIENCE_S} s") from None
        return sorted(found, key=lambda session: session.vmid)

    async def start(self, project: Path) -> Session:
        """The first session, in that folder."""
        port = self._server.sockets[0].getsockname()[1]
        words = [str(HERE / "session.sh"), sys.executable, str(port), str(self.server_port), self.token]
        command = [str(_paths.GC), "run", "--tree", "--private-files", "--", "bash", *words]
        log = self._programs.folder / "session.log"
        with log.open("wb") as output:
            env = {"PYTHONDONTWRITEBYTECODE": "1"}
            process = await self._programs.start(*command, env=env, cwd=project, stdout=output, stderr=output)
        first = asyncio.create_task(self.arrived(1))
        ended = asyncio.create_task(process.wait())
        await asyncio.wait([first, ended], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not first.done():
            first.cancel()
            raise Refused(f"the session did not start: {log.read_text().strip()}")
        return first.result()[0]
