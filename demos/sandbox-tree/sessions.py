"""The shell session and its clones, as the agent sees them: it sends command lines, and gets what they write. Knows no
changes, no tests and no page. session.sh is the other side, in a process or in a VM."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Optional

from stage.performance import Failed, Refused
from stage.programs import Programs, free_port
from stage.vms import FOLDER, Machines

from gridcentric import _paths

HERE = Path(__file__).resolve().parent
PATIENCE_S = {"process": 120, "qemu": 900}  # for a command: a session that takes longer is given up
LIMIT_S = {"process": 0.3, "qemu": 3}  # of the processor's time, for a request to a session's server; VMs may be emulated
LINE = 60_000  # what asyncio reads as one is a little longer


class Session:
    """One domain: a shell, its server, its files."""

    def __init__(self, desk: Desk, vmid: int, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._desk, self._reader, self._writer = desk, reader, writer
        self.vmid, self.url = vmid, None if desk.machines else f"http://{address}:{desk.server_port}"

    async def run(self, command: str, said: Optional[Callable[[str], None]] = None) -> tuple[int, str]:
        """Carries out a command line; returns its status and what it has written. `said` gets each line at once."""
        try:
            self._writer.write(f"{command}\n".encode())
            return await asyncio.wait_for(self._end_of_command(said), self._desk.patience_s)
        except (ConnectionError, asyncio.TimeoutError) as error:
            raise Failed(
                f"session {self.vmid} did not finish '{command}': {error or f'it took more than {self._desk.patience_s} s'}"
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
        answers = await asyncio.gather(*(clone._first_answer() for clone in clones))
        answered = (time.perf_counter() - started) * 1e3
        if any(answer != wanted for answer in answers):
            raise Failed(f"the servers of {ways} clones of session {self.vmid} said {answers}, expected {wanted} from each")
        return clones, {"clone_ms": int(micros) / 1e3, "answered_ms": answered}

    async def _first_answer(self) -> dict[str, Any]:
        await asyncio.wait_for(self._end_of_command(), self._desk.patience_s)  # of "fork", which ends in each of them
        return await self._ask()

    async def _ask(self) -> dict[str, Any]:
        """What the server says about itself: only a clone of it can know the same number. The session asks it, because a VM
        cannot be reached from here."""
        said: dict[str, Any] = json.loads(await self.output("ask"))
        return said

    async def answers(self) -> None:
        """Returns when the server answers."""
        while (await self.run("ask"))[0]:
            await asyncio.sleep(0.02)

    async def script(self, text: str) -> None:
        """Carries out a whole script, in a separate shell."""
        await self.output(f"base64 -d <<< {base64.b64encode(text.encode()).decode()} | bash")

    async def write(self, name: str, text: str) -> None:
        await self.output(f"base64 -d <<< {base64.b64encode(text.encode()).decode()} > {shlex.quote(name)}")

    async def read(self, name: str) -> bytes:
        return base64.b64decode(await self.output(f"base64 -w {LINE} {shlex.quote(name)}"))

    async def files(self) -> list[str]:
        return sorted((await self.output(r"find . -type f -printf '%P\n'")).splitlines())

    async def changed(self) -> list[dict[str, str]]:
        """What its files are, compared with those of the first session at its start: "A", "C" or "D", and a path."""
        listed = json.loads(await self.output(self._desk.compare))
        return [{"kind": one["kind"], "path": str(Path(one["path"]).relative_to(self._desk.folder))} for one in listed]

    def end(self) -> None:
        """The session ends when its connection does, with its server and its files."""
        self._writer.close()


class Desk:
    """Where sessions report to, on 127.0.0.1."""

    def __init__(self, programs: Programs, hypervisor: str) -> None:
        self._programs, self._arrivals = programs, asyncio.Queue[Session]()
        self._hypervisor, self.patience_s = hypervisor, PATIENCE_S[hypervisor]
        self.token, self.server_port = secrets.token_hex(8), free_port()
        self.machines: Optional[Machines] = None

    async def __aenter__(self) -> Desk:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        if self._hypervisor == "qemu":
            self.machines = Machines(self._programs, [self._port])
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        if self.machines:
            self.machines.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = (await reader.readline()).decode(errors="replace").split()
        if len(words) == 4 and words[:2] == ["hello", self.token]:
            self._arrivals.put_nowait(Session(self, int(words[2]), words[3], reader, writer))
        else:
            writer.close()

    async def arrived(self, count: int) -> list[Session]:
        try:
            found = [await asyncio.wait_for(self._arrivals.get(), self.patience_s) for _ in range(count)]
        except asyncio.TimeoutError:
            raise Failed(f"expected {count} sessions, but not all have connected within {self.patience_s} s") from None
        return sorted(found, key=lambda session: session.vmid)

    async def start(self, project: Path) -> Session:
        """The first session, in that folder; that of a VM is in a copy of it."""
        words = [str(self._port), str(self.server_port), self.token, str(LIMIT_S[self._hypervisor])]
        log = self._programs.folder / "session.log"
        with log.open("wb") as output:
            process = await (self._boot(project, words) if self.machines else self._run(project, words, output))
        first = asyncio.create_task(self._arrivals.get())
        ended = asyncio.create_task(process.wait())
        await asyncio.wait([first, ended], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not first.done():
            first.cancel()
            raise Refused(f"the session did not start: {log.read_text().strip() or f'exit code {process.returncode}'}")
        if self.machines:
            await first.result().output("cp -a . ../before")
        return first.result()

    async def _run(self, project: Path, words: list[str], output: IO[bytes]) -> asyncio.subprocess.Process:
        self.folder, self.compare = project, 'gc diff --json "$me"'
        run = [str(_paths.GC), "run", "--tree", "--private-files", "--", "bash", str(HERE / "session.sh"), sys.executable]
        env = {"PYTHONDONTWRITEBYTECODE": "1"}
        return await self._programs.start(*run, *words, env=env, cwd=project, stdout=output, stderr=output)

    async def _boot(self, project: Path, words: list[str]) -> asyncio.subprocess.Process:
        assert self.machines is not None
        self.folder, self.compare = Path(FOLDER, project.name), '"$python" ../changed.py ../before "$PWD"'
        run = ["env", f"--chdir={self.folder}", "PYTHONDONTWRITEBYTECODE=1", "bash", f"{FOLDER}/session.sh", "python3"]
        return await self.machines.start(HERE, *run, *words, folders=[project])
