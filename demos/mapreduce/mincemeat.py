"""A small MapReduce. A program serves the work, any number of workers do it:

    import mincemeat
    server = mincemeat.Server()
    server.datasource = {0: "some text", 1: "more text"}      # any mapping; a value is read when a worker gets it
    server.mapfn = ...        # mapfn(key, value) yields (key, value)
    server.collectfn = ...    # optional: collectfn(key, values) -> value, in the worker, on what one mapfn has yielded
    server.reducefn = ...     # reducefn(key, values) -> value
    results = server.run_server(password="changeme")          # {key: value}

    python mincemeat.py -p changeme SERVER                    # a worker; it ends when the work is done

The names are those of Michael Fairley's mincemeat.py; the code is not. Functions travel as code and may use only what they
import themselves. Keys and values travel as JSON. Server and worker prove to each other that they know the password before
anything else is said; the connection is not encrypted. What a lost worker had is given to another."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hmac
import json
import marshal
import secrets
import socket
import sys
import types
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

PORT = 11235
KEYS_A_TASK = 4000  # of a reduce task
LARGEST = 256 * 1024 * 1024  # bytes of a message
BEFORE_PASSWORD = 1024  # bytes of a message from somebody unknown
FUNCTIONS = ("mapfn", "collectfn", "reducefn")
VERSION = list(sys.version_info[:2])  # code is understood by the same version only


class Failed(Exception):
    """The work cannot be done; the text says why."""


def packed(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


def proof(password: str, role: str, challenge: str) -> str:
    return hmac.new(password.encode(), f"{role} {challenge}".encode(), "sha256").hexdigest()


@dataclass
class Task:
    number: int
    what: str  # "map" or "reduce"
    keys: list[Any]


class Server:
    """The work and its state. `progress(what, task, worker, done, of)` is called when a task has been done."""

    def __init__(self) -> None:
        self.datasource: Mapping[Any, Any] = {}
        self.mapfn: Optional[Callable[..., Any]] = None
        self.collectfn: Optional[Callable[..., Any]] = None
        self.reducefn: Optional[Callable[..., Any]] = None
        self.progress: Callable[[str, int, int, int, int], None] = lambda *_: None
        self.listening: Callable[[int], None] = lambda port: None
        self._groups: dict[Any, list[Any]] = {}
        self._results: dict[Any, Any] = {}
        self._workers = 0

    def run_server(self, password: str = "", port: int = PORT, host: str = "127.0.0.1") -> dict[Any, Any]:
        """Serves until the work is done. Port 0: any free one, which `listening` is told."""
        return asyncio.run(self._run(password, port, host))

    async def _run(self, password: str, port: int, host: str) -> dict[Any, Any]:
        self._changed = asyncio.Condition()
        self._failed: Optional[Failed] = None
        self._over = False
        self._plan("map", [[key] for key in self.datasource])
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self._worker(reader, writer, password)
            except (ConnectionError, asyncio.IncompleteReadError, ValueError):
                pass  # it has gone, or is not a worker
            finally:
                connections.discard(task)
                writer.close()

        listener = await asyncio.start_server(connected, host, port, backlog=256)
        self.listening(listener.sockets[0].getsockname()[1])
        try:
            for what in ("map", "reduce"):
                if what == "reduce":
                    keys = list(self._groups)
                    self._plan(what, [keys[at : at + KEYS_A_TASK] for at in range(0, len(keys), KEYS_A_TASK)])
                async with self._changed:
                    self._changed.notify_all()
                    await self._changed.wait_for(lambda: self._failed or self._done == self._of)
                if self._failed:
                    raise self._failed
        finally:
            listener.close()
            self._over = True
            async with self._changed:
                self._changed.notify_all()
            if connections:
                await asyncio.wait(connections, timeout=5)  # each is told that the work is over
        return self._results

    def _plan(self, what: str, keys: list[list[Any]]) -> None:
        self._waiting = deque(Task(number, what, some) for number, some in enumerate(keys))
        self._done, self._of = 0, len(keys)

    async def _worker(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str) -> None:
        """One worker, from its first word to its last."""

        async def receive(largest: int = LARGEST) -> dict[str, Any]:
            size = int.from_bytes(await reader.readexactly(4), "big")
            if size > largest:
                raise ValueError(f"a message of {size} bytes")
            message: dict[str, Any] = json.loads(await reader.readexactly(size))
            return message

        async def send(**message: Any) -> None:
            writer.write(packed(message))
            await writer.drain()

        challenge = secrets.token_hex(16)
        await send(challenge=challenge)
        said = await receive(BEFORE_PASSWORD)
        if not hmac.compare_digest(str(said.get("proof")), proof(password, "worker", challenge)):
            await send(error="wrong password")
            return
        if said.get("version") != VERSION:
            await send(error=f"this is Python {said.get('version')}, the server's is {VERSION}")
            return
        code = {name: marshal.dumps(fn.__code__) for name in FUNCTIONS if (fn := getattr(self, name))}
        functions = {name: base64.b64encode(one).decode() for name, one in code.items()}
        await send(proof=proof(password, "server", str(said.get("challenge"))), functions=functions)
        self._workers += 1
        number = self._workers
        while task := await self._next_task():
            done = False
            try:
                await send(do=task.what, items=self._items(task))
                answer = await receive()
                if "error" in answer:
                    self._failed = Failed(f"{task.what} failed in worker {number}: {answer['error']}")
                else:
                    self._take(task, answer["result"])
                    done = True
            finally:
                async with self._changed:
                    if done:
                        self._done += 1
                        self.progress(task.what, task.number, number, self._done, self._of)
                    else:
                        self._waiting.append(task)  # the worker is lost: another gets it
                    self._changed.notify_all()
        await send(do="end")

    async def _next_task(self) -> Optional[Task]:
        async with self._changed:
            await self._changed.wait_for(lambda: self._over or self._failed or self._waiting)
            return None if self._over or self._failed else self._waiting.popleft()

    def _items(self, task: Task) -> list[list[Any]]:
        return [[key, self.datasource[key] if task.what == "map" else self._groups[key]] for key in task.keys]

    def _take(self, task: Task, result: list[list[Any]]) -> None:
        if task.what == "reduce":
            self._results.update((key, value) for key, value in result)
            return
        for key, values in result:
            self._groups.setdefault(key, []).extend(values)


class Worker:
    """Connects to a server and works until it says that the work is over."""

    def __init__(self, host: str, port: int, password: str) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        challenge = secrets.token_hex(16)
        first = self._receive()
        self._send(proof=proof(password, "worker", str(first.get("challenge"))), challenge=challenge, version=VERSION)
        said = self._receive()
        # Code is only taken from a server that knows the password.
        if not hmac.compare_digest(str(said.get("proof")), proof(password, "server", challenge)):
            raise Failed("the server does not know the password")
        self._functions = {
            name: types.FunctionType(marshal.loads(base64.b64decode(code)), {"__builtins__": __builtins__}, name)
            for name, code in said["functions"].items()
        }

    def _send(self, **message: Any) -> None:
        self._socket.sendall(packed(message))

    def _receive(self) -> dict[str, Any]:
        head = self._file.read(4)
        body = self._file.read(int.from_bytes(head, "big")) if len(head) == 4 else b""
        if not body:
            raise Failed("the server has gone")
        message: dict[str, Any] = json.loads(body)
        if "error" in message:
            raise Failed(message["error"])
        return message

    def work(self) -> None:
        with contextlib.closing(self._socket):
            while (task := self._receive())["do"] != "end":
                try:
                    result = self._map(task["items"]) if task["do"] == "map" else self._reduce(task["items"])
                except Exception as error:
                    self._send(error=f"{type(error).__name__}: {error}")
                    raise
                self._send(result=result)

    def _map(self, items: list[list[Any]]) -> list[list[Any]]:
        groups: dict[Any, list[Any]] = {}
        mapfn, collectfn = self._functions["mapfn"], self._functions.get("collectfn")
        for key, value in items:
            for out, one in mapfn(key, value):
                if out in groups:
                    groups[out].append(one)
                else:
                    groups[out] = [one]
        if collectfn:
            return [[key, [collectfn(key, values)]] for key, values in groups.items()]
        return [[key, values] for key, values in groups.items()]

    def _reduce(self, items: list[list[Any]]) -> list[list[Any]]:
        reducefn = self._functions["reducefn"]
        return [[key, reducefn(key, values)] for key, values in items]


def main() -> int:
    parser = argparse.ArgumentParser(description="A worker of a MapReduce: works for SERVER until the work is done.")
    parser.add_argument("server", help="its host name or address")
    parser.add_argument("-p", "--password", default="", help="the server's password")
    parser.add_argument("-P", "--port", type=int, default=PORT, help=f"the server's port (default: {PORT})")
    given = parser.parse_args()
    try:
        Worker(given.server, given.port, given.password).work()
    except (OSError, Failed) as error:
        print(f"mincemeat.py: {given.server}:{given.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
