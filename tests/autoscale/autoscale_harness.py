"""The base of the autoscale tests: a fake host, stub servers at its clones' addresses, a driven program, its users.

The clones of the fake hypervisor are numbers with addresses; here stub servers listen on those addresses, so that the
proxy's traffic, health checks and joins are real. Nothing waits for a fixed time: a user's request has either been answered
or the program reports that it holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Optional

import aiohttp
from aiohttp import web
from clone_answers import CUT, SAID
from host_wire import Wire

HERE = Path(__file__).parent
DRIVERS = {"node": ["node", str(HERE / "driver.js")], "python": [sys.executable, str(HERE / "driver.py")]}
BASE = "127.78.0.0"
STUBS = 40
# Nothing waits this long unless it hangs; it never decides between right and wrong.
HANG_GUARD_S = 120


def free_port() -> int:
    """One that is free at all addresses, and that the kernel gives to no connection of a test beside this one meanwhile."""
    given_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(1024, given_from)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("", port))
            return port


class HangingUp(asyncio.Protocol):
    """Closes its connection at once, and says which port the other end has."""

    def __init__(self, hung_up: Callable[[int], None]) -> None:
        self._hung_up = hung_up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
        self._hung_up(transport.get_extra_info("peername")[1])


class Stub(web.Server):
    """The server at the clones' addresses. It hangs up on its next `hang_ups` connections."""

    hang_ups = 0
    hung_up: Callable[[int], None]

    def __call__(self) -> Any:
        if self.hang_ups == 0:
            return super().__call__()
        self.hang_ups -= 1
        return HangingUp(self.hung_up)


class World:
    """A fake host and the stub servers of its clones."""

    def __init__(self, path: Path) -> None:
        self.socket = str(path / "host.sock")
        self.listen_port, self.app_port = free_port(), free_port()
        self.deaf: set[int] = set()  # vmids whose event loop hangs: they answer no health check
        self.joined: list[int] = []
        self.release = asyncio.Event()  # when set, /slow answers
        self.bodies: list[tuple[int, bytes]] = []
        self._waiting: set[asyncio.Future[None]] = set()

    async def start(self, cpus: int) -> None:
        self._host = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gridcentric.reference", "--control", "--seed", "1", "--socket", self.socket,
            "--cpus", str(cpus), "--address-base", BASE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._host.stdout
        line = await self._host.stdout.readline()
        assert line.startswith(b"listening"), line
        self.control = await Wire.connect(self.socket, "control")
        self._runners: list[web.ServerRunner] = []
        self._servers: list[Stub] = []
        for handler, port in ((self._app, self.app_port), (self._clone_side, self.listen_port)):
            server = Stub(handler, handler_cancellation=True)
            runner = web.ServerRunner(server)
            self._servers.append(server)
            await runner.setup()
            for n in range(2, STUBS + 2):
                await web.TCPSite(runner, f"127.78.0.{n}", port).start()
            self._runners.append(runner)

    async def close(self) -> None:
        for waiting in self._waiting:
            waiting.cancel()
        await self.control.close()
        if self._host.returncode is None:
            self._host.send_signal(signal.SIGCONT)
            self._host.terminate()
        await self._host.wait()
        for runner in self._runners:
            await runner.cleanup()

    async def kill_host(self) -> None:
        self._host.kill()
        await self._host.wait()

    def hang_up(self, times: int) -> None:
        """Clones close the next connections at once; the host does not answer until both ends of the first are closed."""
        self._servers[0].hang_ups, self._servers[0].hung_up = times, self._hung_up
        self._host.send_signal(signal.SIGSTOP if times else signal.SIGCONT)

    def _hung_up(self, port: int) -> None:
        self._waiting.add(asyncio.ensure_future(self._go_on_after(port)))

    async def _go_on_after(self, port: int) -> None:
        def closed() -> bool:
            rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return not any(row[1].endswith(f":{port:04X}") and row[3] != "06" for row in rows)

        while not closed():
            await asyncio.sleep(0.005)
        self._host.send_signal(signal.SIGCONT)

    async def nothing_left(self) -> None:
        """Wait until the host has noticed that the whole family is gone, unless the host itself is gone."""
        async with asyncio.timeout(HANG_GUARD_S):
            while self._host.returncode is None and await self.domains():
                await asyncio.sleep(0.005)

    async def domains(self) -> list[list[str]]:
        """FAMILY VMID PARENT IP TICKET STATE of each domain."""
        return (await self.control.ask("domains"))[:-1]

    async def end(self, vmid: int) -> None:
        domain = next(domain for domain in await self.domains() if domain[1] == str(vmid))
        await self.control.ask(f"end {domain[0]} {vmid} lost 0")
        for server in self._servers:  # as the kernel does when a process ends
            for connection in server.connections:
                if connection.transport and connection.transport.get_extra_info("sockname")[0] == domain[3]:
                    connection.transport.abort()

    async def _who(self, request: web.BaseRequest) -> Optional[list[str]]:
        assert request.transport
        ip = request.transport.get_extra_info("sockname")[0]
        return next((domain for domain in await self.domains() if domain[3] == ip), None)

    async def _app(self, request: web.BaseRequest) -> web.StreamResponse:
        """The app in a clone. At the address of an ended clone it answers `nobody`, as a master's app would."""
        assert request.transport
        domain = await self._who(request)
        if not domain:
            return web.Response(text="nobody")
        if request.path == "/die":
            self.bodies.append((int(domain[1]), b"die"))
            await self.end(int(domain[1]))
            return web.Response()
        if request.path == "/refused":
            return web.Response(status=403, text="no")
        if request.path == "/moved":
            return web.Response(status=302, text="elsewhere", headers={"Location": "/headers"})
        if request.path == "/slow":
            await self.release.wait()
        if request.path == "/big":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(64):
                await response.write(bytes(1 << 20))
            return response
        if request.path == "/events":
            if request.query_string == "later":
                await self.release.wait()
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b"data: first\n\n")
            await self.release.wait()
            await response.write(b"data: second\n\n")
            return response
        if request.path == "/socket":
            ws = web.WebSocketResponse(protocols=["chat"])
            await ws.prepare(request)
            async for message in ws:
                await ws.send_str(f"clone {domain[1]}: {message.data}")
            return ws
        if request.path == "/too-much":
            # Like Node's server: it answers before the body has been read, and reads the rest of the body only if the
            # connection is kept.
            response = web.StreamResponse(status=413)
            await response.prepare(request)
            await response.write(f"clone {domain[1]} refuses".encode())
            await response.write_eof()
            if request.keep_alive:
                await request.content.read()
            else:
                request.transport.abort()
            return response
        if request.path.startswith("/say/"):
            return await self._say(request, request.path.split("/")[2].replace("-", " "))
        if request.path.startswith("/cut/"):
            return await self._cut(request, *request.path.split("/")[2:])
        if request.path == "/socket.io/" and "sid" not in request.query:
            packet = f'0{{"sid":"{secrets.token_urlsafe(15)}","upgrades":["websocket"],"pingInterval":25000}}'
            return web.Response(text=f"{len(packet)}:{packet}" if request.query["EIO"] == "3" else packet)
        if request.path == "/hops":
            own = [("X-Hop", "1"), ("Connection", "keep-alive, X-Hop"), ("Proxy-Authenticate", "Basic"), ("Upgrade", "h2c")]
            own += [("X-Gridcentric-Vmid", "99"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
            return web.Response(text="[]", headers=own)
        if "X-Echo-Path" in request.headers:
            return web.Response(headers={"X-Path": request.raw_path})
        if request.path == "/headers":
            return web.json_response(list(request.headers.items()), headers={"Set-Cookie": "own=1; Path=/"})
        body = await request.content.read()
        if request.path == "/break":  # ends the connection instead of answering
            self.bodies.append((int(domain[1]), body))
            request.transport.abort()
            return web.Response()
        self.bodies.append((int(domain[1]), body))
        return web.Response(text=f"clone {domain[1]} {len(body)}")

    async def _say(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """A clone that answers in an odd way. What follows its answer waits on a connection that stays open."""
        assert request.transport
        await request.content.read()
        request.transport.write(SAID[name][0])
        if "too many" in name:
            await asyncio.Event().wait()
        request.transport.close()
        return web.Response()

    async def _cut(self, request: web.BaseRequest, after: str, how: str) -> web.StreamResponse:
        """A clone that breaks off: after nothing or a part of its answer, by a reset or by a close."""
        assert request.transport
        if after == "body":
            await request.content.read()
        request.transport.write(CUT[after])
        if how == "reset":
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        else:
            request.transport.close()
        return web.Response()

    async def _clone_side(self, request: web.BaseRequest) -> web.StreamResponse:
        domain = await self._who(request)
        if not domain:
            return web.json_response({"vmid": 0})
        family, vmid = domain[0], int(domain[1])
        if request.path == "/_gridcentric/health" and vmid not in self.deaf:
            return web.json_response({"vmid": vmid})
        if request.path == "/_gridcentric/join" and request.method == "POST":
            assert len(request.headers["X-Gridcentric-Token"]) == 32
            self.joined.append(vmid)
            if vmid in self.deaf:
                return web.json_response({"vmid": vmid}, status=202)
            clone = await Wire.connect(self.socket, f"as {family} {vmid}")
            await clone.ask("join ZHJhaW5lZA==")
            await clone.close()
            return web.json_response({"vmid": vmid}, status=202)
        return web.Response(status=500)


class Program:
    """The driven program in one of the languages."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: Path) -> None:
        self.process, self._stderr = process, stderr
        self._lock = asyncio.Lock()
        self.log: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._signals: set[int] = set()

    @classmethod
    async def start(cls, language: str, world: World, options: dict[str, Any], chances: list[float], stderr: Path) -> Program:
        # By default users are identified by name: they count from their first request on. The end waits for nobody.
        options = {"users": {"header": "X-User"}, "endLimit": 0, **options}
        given = {"listenPort": world.listen_port, "appPort": world.app_port, "options": options, "chances": chances}
        environment = {**os.environ, "GRIDCENTRIC_HOST": f"unix:{world.socket}", "GRIDCENTRIC_AUTOSCALE": ""}
        with stderr.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *DRIVERS[language],
                json.dumps(given),
                env=environment,
                limit=1 << 24,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        program = cls(process, stderr)
        await program._read()
        return program

    async def do(self, what: str, **more: Any) -> dict[str, Any]:
        """Send a command to the program; returns its state afterwards."""
        async with self._lock:
            assert self.process.stdin
            self.process.stdin.write(f"{json.dumps({'do': what, **more})}\n".encode())
            return await self._read()

    async def _read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = await self.process.stdout.readline()
        assert line, f"the program ended with {await self.process.wait()}: {self._stderr.read_text()}"
        state: dict[str, Any] = json.loads(line)
        self.log += state.pop("log")
        self.events += state.pop("events")
        return state

    async def said(self, text: str) -> None:
        while text not in self.log:
            await self.do("state")

    def signal(self, number: int) -> None:
        self._signals.add(number)
        self.process.send_signal(number)

    def resident(self) -> int:
        """Its memory, in KB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0])

    async def stop(self) -> None:
        if self.process.returncode is None:
            await self.do("close")
        await self.process.wait()
        # aiohttp.web.GracefulExit is 1, Node is ended by the signal again.
        well = {1, *(-number for number in self._signals)} if self._signals else {0}
        assert self.process.returncode in well, f"the program ended with {self.process.returncode}: {self._stderr.read_text()}"
        # Whatever its clients do, it prints nothing: no traceback, no warning.
        assert self._stderr.read_text() == ""


class User:
    """A user with a name and a cookie jar."""

    def __init__(self, world: World) -> None:
        self.url = f"http://127.0.0.1:{world.listen_port}"
        self.session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"X-User": secrets.token_hex(8)}
        )
        self.open: Optional[asyncio.Task[str]] = None  # a request without an answer yet
        self.path = "/"

    async def get(self, path: str = "/", method: str = "GET", **more: Any) -> str:
        """`clone 3` or `503 reason`, whichever it was."""
        self.path = path
        async with self.session.request(method, self.url + path, **more) as response:
            text = (await response.text()).strip()
            if response.status != 200:
                return f"{response.status} {text}"
            assert text.startswith(f"clone {response.headers['X-Gridcentric-Vmid']}"), text
            return " ".join(text.split()[:2])


@contextlib.asynccontextmanager
async def running(
    language: str, folder: Path, options: dict[str, Any], cpus: int = 64, chances: Optional[list[float]] = None
) -> AsyncIterator[tuple[World, Program]]:
    """A world with a program; both are gone afterwards, and nothing is left of the family."""
    world = World(folder)
    await world.start(cpus)
    try:
        program = await Program.start(language, world, options, chances or [], folder / "stderr")
        try:
            yield world, program
            await program.stop()
            await world.nothing_left()
        finally:
            if program.process.returncode is None:
                program.process.kill()
                await program.process.wait()
    finally:
        await world.close()
