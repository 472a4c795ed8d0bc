"""The machines' network where a process gets no network namespace or no taps: an Ethernet switch in this process. Each
machine has a datagram socket to it (QEMU's netdev "dgram"); connections from outside go through the TCP stack of a QEMU
without a machine (its netdev "user"), which is one more station of the switch.

Slower than the bridge, and needs nothing. The same verbs as Bridge in netns.py; gone with its process, as that is.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import threading
from typing import Any

from gridcentric.hypervisors.qemu.started_programs import BINARY, launched

FRAME = 65550
BUFFER = 1 << 20  # bytes on the way to a machine; more is lost, as on a wire
MOST_LEARNED = 4096  # MACs; frames for others go to all
STACK = "stack"  # the station of the TCP stack


class Switch:
    """Belongs to one thread, but for connect(). A separate thread carries the frames."""

    def __init__(self, address: str, prefix: int) -> None:
        """Raises OSError."""
        self._lock = threading.Lock()
        self._stations: dict[str, tuple[socket.socket, socket.socket]] = {}  # ours, and the machine's
        self._names: dict[int, str] = {}
        self._plugged: set[str] = set()
        self._learned: dict[bytes, str] = {}  # where a MAC was last heard
        self._poll = select.epoll()
        # At once: whatever is started dies with the thread that started it (PR_SET_PDEATHSIG), and connect() may be on any.
        self._stack = _Stack(self.tap(STACK), address, prefix)
        self.plug(STACK)
        threading.Thread(target=self._carry, daemon=True).start()

    def tap(self, name: str) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        with self._lock:
            self._stations[name] = (ours, theirs)
            self._names[ours.fileno()] = name
        self._poll.register(ours, select.EPOLLIN)
        return theirs.fileno()

    def plug(self, name: str, _ip: str = "", _mac: str = "") -> None:
        """The first frame shows who is behind it."""
        with self._lock:
            if name not in self._stations:
                raise KeyError(name)
            self._plugged.add(name)

    def drop(self, name: str) -> None:
        with self._lock:
            ours, theirs = self._stations.pop(name)
            self._plugged.discard(name)
            self._learned = {mac: station for mac, station in self._learned.items() if station != name}
            del self._names[ours.fileno()]
            self._poll.unregister(ours)
            ours.close()
            theirs.close()

    def connect(self, ip: str, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._stack.way_to(ip, port)), timeout=10)

    def _carry(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                with self._lock:
                    name = self._names.get(fd)
                    if name is None:
                        continue
                    with contextlib.suppress(OSError):
                        for _ in range(64):  # then it is another's turn
                            self._forward(name, self._stations[name][0].recv(FRAME))

    def _forward(self, name: str, frame: bytes) -> None:
        if name not in self._plugged or len(frame) < 14:
            return
        target, source = frame[:6], frame[6:12]
        if source in self._learned or len(self._learned) < MOST_LEARNED:  # a guest may invent as many as it likes
            self._learned[source] = name
        known = None if target[0] & 1 else self._learned.get(target)
        for other in self._plugged if known is None else (known,):
            if other != name:
                with contextlib.suppress(OSError):  # its buffer is full
                    self._stations[other][0].send(frame)


class _Stack:
    """A QEMU that has a TCP stack and no machine. Thread-safe."""

    def __init__(self, fd: int, address: str, prefix: int) -> None:
        network = f"{address.rsplit('.', 2)[0]}.0.0/{prefix}"
        name_server = f"{address.rsplit('.', 2)[0]}.255.254"  # it answers for this one too: not a machine's
        self._qemu = subprocess.Popen(
            launched([BINARY, "-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio",
             "-netdev", f"user,id=stack,net={network},host={address},dns={name_server},restrict=on,ipv6=off",
             "-netdev", f"dgram,id=wire,local.type=fd,local.str={fd}",
             "-netdev", "hubport,id=p0,hubid=0,netdev=stack", "-netdev", "hubport,id=p1,hubid=0,netdev=wire"]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[fd],
        )  # fmt: skip
        self._ways: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()
        self._ask("qmp_capabilities")

    def way_to(self, ip: str, port: int) -> int:
        """The port of 127.0.0.1 that leads to a machine's."""
        with self._lock:
            while (ip, port) not in self._ways:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", 0))
                    way: int = probe.getsockname()[1]
                said = self._ask(
                    "human-monitor-command", {"command-line": f"hostfwd_add stack tcp:127.0.0.1:{way}-{ip}:{port}"}
                )
                if not said:
                    self._ways[ip, port] = way
                elif "could not set up" not in said.lower():  # somebody else took the port: another one
                    raise OSError(said.strip())
            return self._ways[ip, port]

    def _ask(self, command: str, arguments: dict[str, Any] | None = None) -> str:
        assert self._qemu.stdin is not None and self._qemu.stdout is not None
        self._qemu.stdin.write(json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n")
        self._qemu.stdin.flush()
        for line in self._qemu.stdout:
            reply = json.loads(line)
            if "return" in reply:
                return str(reply["return"]) if isinstance(reply["return"], str) else ""
            if "error" in reply:
                raise OSError(reply["error"]["desc"])
        raise OSError("the QEMU with the TCP stack has ended")
