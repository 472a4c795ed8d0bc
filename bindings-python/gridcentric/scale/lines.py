"""What the program and its clones print: each line of a clone appears with its vmid in front, as in `[2] ...`.

Clones share the standard streams of their master. These are Unix sockets here, not pipes: with what is written to a socket the
kernel says which process wrote it (SCM_CREDENTIALS, unix(7)). Which domain that process belongs to, the host knows.

A thread reads and writes, so that a standard output that is not read holds up the program, as it would without us, but not
the traffic.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from typing import Callable, Optional

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
_AT_ONCE = 65536
LONGEST_LINE = 65536  # a longer one is cut
MOST_UNFINISHED = 1000
END_LIMIT_S = 2.0


class Lines:
    """domain_of(pid) -> the vmid of the domain that a process belongs to, or None if that can't be known; called in the thread.

    targets: the descriptors on which it is shown.
    """

    def __init__(self, domain_of: Callable[[int], Optional[int]], targets: tuple[int, int] = (1, 2)) -> None:
        self._domain_of = domain_of
        self._pairs = [socket.socketpair() for _ in targets]
        self._targets = dict(zip((ours.fileno() for ours, _ in self._pairs), targets))
        for ours, _ in self._pairs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._unfinished: dict[tuple[int, int], bytes] = {}  # by stream and process: a line without its end
        self._thread = threading.Thread(target=self._run, name="gc scale: lines", daemon=True)

    @property
    def streams(self) -> tuple[int, int]:
        """For the program: its standard output and standard error."""
        return self._pairs[0][1].fileno(), self._pairs[1][1].fileno()

    def start(self) -> None:
        """Once the program has its ends."""
        for _, theirs in self._pairs:
            theirs.close()
        self._thread.start()

    def end(self) -> None:
        """When the family is gone. What has been written is shown; who still has an end of a stream is not waited for."""
        if self._thread.is_alive():
            self._thread.join(END_LIMIT_S)

    def _run(self) -> None:
        poll = select.poll()
        for ours, _ in self._pairs:
            poll.register(ours, select.POLLIN)
        streams = {ours.fileno(): ours for ours, _ in self._pairs}
        while streams:
            for fd, _ in poll.poll():
                if not self._read(streams[fd]):
                    poll.unregister(fd)
                    streams.pop(fd).close()
        for (fd, pid), rest in self._unfinished.items():
            self._show(fd, pid, rest + b"\n")

    def _read(self, stream: socket.socket) -> bool:
        """False at its end. One call returns what one process has written."""
        data, ancillary, _, _ = stream.recvmsg(_AT_ONCE, socket.CMSG_SPACE(_CREDENTIALS.size))
        if not data:
            return False
        pid = next(
            (_CREDENTIALS.unpack(value)[0] for level, kind, value in ancillary
             if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)), 0,
        )  # fmt: skip
        key = (stream.fileno(), pid)
        whole, newline, rest = (self._unfinished.pop(key, b"") + data).rpartition(b"\n")
        if newline:
            self._show(*key, whole + newline)
        if len(rest) >= LONGEST_LINE:
            self._show(*key, rest + b"\n")
        elif rest:
            self._unfinished[key] = rest
        if len(self._unfinished) > MOST_UNFINISHED:  # of processes that have ended, most likely
            oldest = next(iter(self._unfinished))
            self._show(*oldest, self._unfinished.pop(oldest) + b"\n")
        return True

    def _show(self, fd: int, pid: int, lines: bytes) -> None:
        vmid = self._domain_of(pid) if pid else None
        mark = b"" if vmid == 0 else b"[%d] " % vmid if vmid is not None else b"[?] "
        text = b"".join(mark + line + b"\n" for line in lines[:-1].split(b"\n")) if mark else lines
        while text and fd in self._targets:
            try:
                text = text[os.write(self._targets[fd], text) :]
            except BlockingIOError:  # whoever shares it has made it so
                select.select([], [self._targets[fd]], [])
            except OSError:  # nobody reads it any more: the program goes on
                del self._targets[fd]
