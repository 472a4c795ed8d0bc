"""Sockets and processes: the host on asyncio.

Takes connections of its own user and of root only. No guest can block another: lines are taken in small batches, a guest
that does not read its replies is not read from, and one that lets too many of them pile up is disconnected.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import stat
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Callable, Optional

from .errors import Refused
from .fake import Fake
from .host import Control, Host
from .session import Peer, Session
from .wire import Lines

HELLO_SECONDS = 10  # for the handshake
FAREWELL_SECONDS = 10  # for reading what was sent before the host closed
BATCH = 64  # lines of one connection before others have their turn
UNREAD_PAUSE = 1 << 20  # bytes of unread replies from which a guest is not read from
UNREAD_CLOSE = 64 << 20  # and from which another reply disconnects it


class Processes:
    """The processes of this machine; their ends are noticed by pidfds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pidfds: dict[int, int] = {}

    def lineage(self, pid: int) -> Iterator[int]:
        while pid > 0:
            yield pid
            try:
                # Behind the name, which may hold anything, in brackets: state, parent.
                pid = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                return

    def watch(self, pid: int, gone: Callable[[], None]) -> None:
        self._pidfds[pid] = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfds[pid], gone)

    def unwatch(self, pid: int) -> None:
        self._loop.remove_reader(self._pidfds[pid])
        os.close(self._pidfds.pop(pid))

    def close(self) -> None:
        for pid in list(self._pidfds):
            self.unwatch(pid)


class Connection(asyncio.Protocol):
    """Bytes to lines and back, for one session."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lines = Lines()
        self._session: Optional[Session] = None
        self._paused = False
        self._scheduled = False
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        pid, uid, _ = struct.unpack(
            "3i", transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        if uid not in (os.getuid(), 0):
            self.abort()
            return
        transport.set_write_buffer_limits(high=UNREAD_PAUSE)
        self._session = Session(self._server.host, Peer(pid, uid), self)
        self._guard = self._server.loop.call_later(HELLO_SECONDS, self._check_hello)

    def _check_hello(self) -> None:
        if self._session and not self._session.role:
            self.abort()

    def data_received(self, data: bytes) -> None:
        if not self._closing:
            self._lines.feed(data)
            if not self._scheduled:
                self._take_lines()

    def _take_lines(self) -> None:
        """Some lines; the rest when the others have had their turn."""
        self._scheduled = False
        try:
            for _ in range(BATCH):
                if self._paused or self._closing or self._session is None:
                    return
                line = self._lines.next()
                if line is None:
                    self._transport.resume_reading()
                    return
                self._session.line(line)
        except Refused as refused:
            if self._session:
                self._session.refuse_line(refused)
        else:
            self._transport.pause_reading()
            self._scheduled = True
            self._server.loop.call_soon(self._take_lines)
        finally:
            self._server.wake()

    def send(self, lines: Iterable[str]) -> None:
        if self._closing:
            return
        if self._transport.get_write_buffer_size() > UNREAD_CLOSE:
            self.abort()
            return
        self._transport.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))

    def pause_writing(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if not self._scheduled:
            self._take_lines()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._transport.close()
            self._guard = self._server.loop.call_later(FAREWELL_SECONDS, self.abort)

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def eof_received(self) -> None:
        # Not left to connection_lost, which asyncio calls only after it has read what others said meanwhile.
        self._end()

    def connection_lost(self, error: Optional[Exception]) -> None:
        self._server.connections.discard(self)
        self._end()

    def _end(self) -> None:
        self._closing = True
        if self._session:
            self._guard.cancel()
            session, self._session = self._session, None
            session.gone()
            self._server.wake()


class Server:
    """A host that listens on a Unix socket until SIGTERM or SIGINT."""

    def __init__(self, path: Path, cpus: int, seed: int, address_base: str, control: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self._path = path
        self._processes = Processes(self.loop)
        self._timer: Optional[asyncio.TimerHandle] = None
        tests = Control() if control else None
        self.host = Host(cpus, seed, lambda clock: Fake(clock, address_base), self._processes, tests)

    def wake(self) -> None:
        """See to it that what is due is done in time. A virtual clock moves only when it is told to."""
        if self.host.control:
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        due = self.host.next_due()
        if due is not None:
            self._timer = self.loop.call_later(max(0, due - self.host.now()) / 1000, self._on_time)

    def _on_time(self) -> None:
        self.host.run()
        self.wake()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Listen; `ready` is called when guests can connect. Returns when told to end, with nothing left over."""
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        over = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, over.set)
        listener = _listen(self._path)
        try:
            server = await self.loop.create_unix_server(lambda: Connection(self), sock=listener, backlog=1024)
            ready()
            await over.wait()
            server.close()
            for connection in list(self.connections):
                connection.abort()
            while self.connections:
                await asyncio.sleep(0)
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            self._processes.close()


def _listen(path: Path) -> socket.socket:
    """A socket at `path` that only its user can open. One that a dead host left there is removed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise FileExistsError(f"a host listens on {path} already")
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener
