"""Guests of a host over its socket, told what they said and heard in a form that two hosts can be compared by.

A step is over when the host has answered everything it will answer without being asked again; nothing here sleeps.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
PING = 999999999
VARYING = ("version ", "pid ", "mode ", "why ", "supports ")  # facts of `info` in which hosts differ

# A process that connects sockets it is handed: the host takes it for the process at their other end.
CONNECTOR = """
import socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
while True:
    path, descriptors, _, _ = socket.recv_fds(channel, 4096, 1)
    if not path:
        break
    with socket.socket(fileno=descriptors[0]) as handed:
        handed.connect(path.decode())
    channel.send(b"+")
"""


class Program:
    """A process that may become a master. It is not a child of a domain, nor is it the test's own process."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = str(theirs.fileno())
            self._process = subprocess.Popen([sys.executable, "-c", CONNECTOR, number], pass_fds=[theirs.fileno()])

    def connect(self, path: str) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        socket.send_fds(self._channel, [path.encode()], [connected.fileno()])
        assert self._channel.recv(1) == b"+"
        return connected

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


class Wire:
    """One connection. What is heard comes as whole lines; `closed` once the host has closed it."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._buffer = b""
        self.closed = False
        self.is_control = False
        self.greeted = False

    def say(self, line: bytes) -> None:
        # What the host said before it closed is still to be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(line + b"\n")

    def hear(self, wait: bool = False) -> list[str]:
        """The lines that are there. `wait`: until there is one, or the end."""
        if self.closed:
            return []
        self._socket.setblocking(wait)
        lines: list[str] = []
        while not self.closed:
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            self.closed = not data
            self._buffer += data
            *whole, self._buffer = self._buffer.split(b"\n")
            lines += [line.decode() for line in whole]
            if lines:
                self._socket.setblocking(False)
        return lines

    def finish_line(self) -> list[str]:
        """Everything up to the answer to a ping: what was said before it has been dealt with. The ping's answer is left
        out; a connection that says no more ends here as well."""
        self.say(f"{PING} {'now' if self.is_control else 'cancel 0'}".encode())
        heard: list[str] = []
        while not self.closed:
            heard += self.hear(wait=True)
            if any(line.startswith(f"{PING} ") for line in heard):
                break
        return [line for line in heard if not line.startswith(f"{PING} ")]

    def close(self) -> None:
        self._socket.close()
        self.closed = True


class HostUnderTest:
    """A host in a separate process, with a control connection of ours."""

    def __init__(self, command: list[str], path: Path, cpus: int) -> None:
        self.path = str(path)
        arguments = ["--control", "--seed", "1", "--cpus", str(cpus), "--socket", self.path]
        self._process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"listening on unix:{self.path}\n"
        self.wires: list[Wire] = []
        self.begin()

    def begin(self) -> None:
        """As new, with no connection but ours."""
        for wire in self.wires:
            wire.close()
        self.wires = []
        self.uuids: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._open_control()
        self.order("reset")

    def _open_control(self) -> None:
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(self.path)
        self._control = Wire(connected)
        self._control.say(b"gridcentric/1 control")
        assert self._control.hear(wait=True) == ["gridcentric/1 ok - - - - fake"]

    def order(self, line: str) -> list[str]:
        """A control verb: its reply."""
        self._control.say(f"1 {line}".encode())
        return self._reply()

    def hang_up_and_order(self, number: int, line: str) -> list[str]:
        """The reply to an order that the host finds together with the end of a connection, which came first.

        The host sleeps as it is stopped: epoll would tell it of a connection that it has just dealt with before any other.
        """
        stat = Path(f"/proc/{self._process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.001)
        self._process.send_signal(signal.SIGSTOP)
        self.wires[number].close()
        self._control.say(f"1 {line}".encode())
        self._process.send_signal(signal.SIGCONT)
        return self._reply()

    def _reply(self) -> list[str]:
        heard: list[str] = []
        while not any(line.split(" ")[1] in ("ok", "error") for line in heard):
            heard += self._control.hear(wait=True)
            assert not self._control.closed, "the host has closed its control connection"
        return heard

    def connect(self, program: Program, line: bytes) -> list[object]:
        wire = Wire(program.connect(self.path))
        self.wires.append(wire)
        wire.is_control = line == b"gridcentric/1 control"
        return self.say(len(self.wires) - 1, line)

    def say(self, number: int, line: bytes) -> list[object]:
        """Say a line on a connection. Everything that anybody heard of it, and the host's whole state after it."""
        wire = self.wires[number]
        wire.say(line)
        return self.settle(wire)

    def settle(self, asked: Optional[Wire] = None) -> list[object]:
        first = []
        if asked and not asked.closed:
            first = asked.finish_line() if asked.greeted else asked.hear(wait=True)
            asked.greeted = asked.greeted or any(line.startswith("gridcentric/1 ok") for line in first)
            if not asked.greeted:  # it was refused and nothing more will be said
                while not asked.closed:
                    first += asked.hear(wait=True)
        state = self.order("dump")
        self.order("now")  # once more around the host's loop: whatever was to be written is written
        heard = [(first if wire is asked else []) + wire.hear() for wire in self.wires]
        told: list[object] = [
            (sorted(self._tell(line) for line in sorted(lines, key=_id_of)), wire.closed)
            for lines, wire in zip(heard, self.wires)
        ]
        calls = sorted(self._tell(line) for line in state if " item call " in line)
        return [*told, [self._tell(line) for line in state if " item call " not in line], calls]

    def hang_up(self, number: int) -> list[object]:
        self.wires[number].close()
        return self.settle()

    def _tell(self, line: str) -> str:
        """Names for UUIDs, in the order in which they appear; codes of errors without their texts."""
        line = UUID.sub(lambda match: self._name(match.group()), line)
        who, kind, *rest = line.split(" ")
        if kind == "error":
            return f"{who} error {rest[0]}"
        if kind == "item" and " ".join(rest).startswith(VARYING):
            return f"{who} item {rest[0]}"
        return line

    def _name(self, uuid: str) -> str:
        if uuid not in self._names:
            self._names[uuid] = f"u{len(self._names) + 1}"
            self.uuids[self._names[uuid]] = uuid
        return self._names[uuid]

    def close(self) -> int:
        for wire in [*self.wires, self._control]:
            wire.close()
        self._process.terminate()
        self._process.communicate()
        return self._process.returncode


def _id_of(line: str) -> int:
    head = line.split(" ")[0]
    return int(head) if head.isdigit() else -1
