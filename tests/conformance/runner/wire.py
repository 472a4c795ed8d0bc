"""A plain client of the guest protocol (docs/protocol.md), for the runner and for tests that speak it themselves.

It must not know what a call means: it sends tokens and gives back tokens.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

# Ends a test that hangs. Never decides between right and wrong: nothing here takes a thousandth of it.
HANG_GUARD_S = 120.0


class Refused(Exception):
    """A call or a handshake was answered with an error: its code and text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Closed(Exception):
    """The host closed the connection, or cannot be reached."""


class Connection:
    """One connection to a host: the handshake, then calls, any number of them open at once. For one thread."""

    def __init__(self, path: str, hello: str | None) -> None:
        """Connect and shake hands as `hello` ("attach", "as FAMILY VMID"...); None: say nothing, to speak raw."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(HANG_GUARD_S)
        self._buffer = bytearray()
        self._replies: dict[int, tuple[list[list[str]], list[str]]] = {}
        self._items: dict[int, list[list[str]]] = {}
        self._last_id = 0
        self.identity: list[str] = []  # FAMILY VMID IP PARENT HYPERVISOR
        try:
            self._socket.connect(path)
            if hello is None:
                return
            self.send_line(f"gridcentric/1 {hello}")
            answer = self.read_line().split(" ", 3)
        except (OSError, Closed) as error:
            self.close()
            raise Closed(f"no handshake with {path}: {error}") from error
        if answer[1] == "error":
            self.close()
            raise Refused(answer[2], answer[3])
        self.identity = answer[2:3] + answer[3].split(" ")

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send_line(self, line: str) -> None:
        try:
            self._socket.sendall(line.encode() + b"\n")
        except OSError as error:
            raise Closed(str(error)) from error

    def receive(self) -> Iterator[str]:
        """The lines that one read brings (perhaps none); raises Closed at the end of the stream."""
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("the host closed the connection")
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        return (line.decode() for line in lines)

    def read_line(self) -> str:
        """One line; for the handshake and for those who speak raw. Byte by byte, so that no more is taken."""
        line = bytearray()
        while not line.endswith(b"\n"):
            try:
                byte = self._socket.recv(1)
            except ConnectionError as error:
                raise Closed(str(error)) from error
            if not byte:
                raise Closed("the host closed the connection")
            line += byte
        return line[:-1].decode()

    def start(self, verb: str, *args: object) -> int:
        """Send a call and return its ID, for finish()."""
        self._last_id += 1
        self.send_line(" ".join([str(self._last_id), verb, *map(str, args)]))
        return self._last_id

    def take(self, line: str) -> int | None:
        """Note one reply line; the ID when it completes a call."""
        id_text, kind, *rest = line.split(" ", 2)
        call, fields = int(id_text), rest[0] if rest else ""
        if kind == "item":
            self._items.setdefault(call, []).append(fields.split(" "))
            return None
        result = ["error", *fields.split(" ", 1)] if kind == "error" else ["ok", *fields.split()]
        self._replies[call] = (self._items.pop(call, []), result)
        return call

    def result(self, call: int) -> tuple[list[list[str]], list[str]]:
        """Items and fields of a call that take() has completed."""
        items, (kind, *fields) = self._replies.pop(call)
        if kind == "error":
            raise Refused(fields[0], fields[1] if len(fields) > 1 else "")
        return items, fields

    def finish(self, call: int) -> tuple[list[list[str]], list[str]]:
        """Wait for a call's reply: its items and fields. Raises Refused or Closed."""
        while call not in self._replies:
            for line in self.receive():
                self.take(line)
        return self.result(call)

    def call(self, verb: str, *args: object) -> tuple[list[list[str]], list[str]]:
        return self.finish(self.start(verb, *args))
