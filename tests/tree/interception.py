"""Stops the processes of a tree at system calls that they are about to make (seccomp's user notification), so that a test can
end one right there. It must not know: what is cloned.

    python interception.py SOCKET CALLS... -- COMMAND     executes COMMAND; SOCKET, a descriptor, gets that of the notifications
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import select
import socket
import struct
import sys
import threading
from typing import Callable, Optional

# x86-64
CALLS = {
    "clone3": 435, "close": 3, "connect": 42, "execve": 59, "execveat": 322, "exit_group": 231, "mmap": 9, "munmap": 11,
    "openat": 257, "pidfd_getfd": 438, "pidfd_open": 434, "prctl": 157, "rseq": 334, "sendmsg": 46, "set_robust_list": 273,
    "setns": 308, "setpgid": 109, "setsid": 112, "write": 1,
}  # fmt: skip
SECCOMP, PR_SET_NO_NEW_PRIVS = 317, 38
SET_MODE_FILTER, NEW_LISTENER = 1, 8
NOTIFY, ALLOW = 0x7FC00000, 0x7FFF0000
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
NOTIFICATION, ANSWER = struct.Struct("=QII iIQ6Q"), struct.Struct("=QqiI")


def install(numbers: list[int]) -> int:
    """This process and those that it makes are stopped at these calls. The descriptor of the notifications."""
    code = [(0x20, 0, 0, 0)]  # load the number
    for at, number in enumerate(numbers):
        code.append((0x15, len(numbers) - at, 0, number))  # jump to the last line if it is this one
    code += [(0x06, 0, 0, ALLOW), (0x06, 0, 0, NOTIFY)]
    lines = b"".join(struct.pack("=HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(lines)
    program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(code), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    fd: int = libc.syscall(SECCOMP, SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp with notifications")
    return fd


class Interception:
    """Of these calls; `decide` is told the pid of the process (or the thread) that is about to make one."""

    def __init__(self, calls: list[str], decide: Callable[[int], None]) -> None:
        self._calls = calls
        self._decide = decide
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread: Optional[threading.Thread] = None

    def command(self, *command: str) -> list[str]:
        return [sys.executable, __file__, str(self._theirs.fileno()), *self._calls, "--", *command]

    def descriptors(self) -> tuple[int, ...]:
        return (self._theirs.fileno(),)

    def begin(self) -> None:
        """When the command has been started."""
        self._theirs.close()
        _, ancillary, _, _ = self._ours.recvmsg(1, socket.CMSG_SPACE(4))
        listener = array.array("i", ancillary[0][2])[0]
        self._thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
        self._thread.start()

    def _serve(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while True:
            (_, events), *_ = poll.poll()
            if events & select.POLLHUP:  # nobody has the filter any more
                break
            told = bytearray(NOTIFICATION.size)
            try:
                fcntl.ioctl(listener, RECEIVE, told)
                cookie, pid, *_ = NOTIFICATION.unpack(told)
                self._decide(pid)
                fcntl.ioctl(listener, SEND, ANSWER.pack(cookie, 0, 0, CONTINUE))
            except OSError:  # it has ended meanwhile
                continue
        os.close(listener)


def main() -> None:
    to = socket.socket(fileno=int(sys.argv[1]))
    split = sys.argv.index("--")
    names, command = sys.argv[2:split], sys.argv[split + 1 :]
    listener = install([CALLS[name] for name in names])
    to.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
    os.close(listener)
    to.close()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
