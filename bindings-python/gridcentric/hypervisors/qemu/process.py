"""Processes that run machines: those that this one has started, and copies of them, which are nobody's children here. Both are
known by a pidfd (pidfd_open(2)), so that no signal ever goes to a process that has merely taken over a number."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess

from gridcentric import _host


class Process:
    """A copy of a QEMU. Unlike a child, its gc-reaper waits for it and gets its exit code."""

    def __init__(self, pid: int) -> None:
        """Raises OSError when there is no such process."""
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def alive(self) -> bool:
        """False as soon as it has ended, whether somebody has been told or not."""
        return self._pidfd >= 0 and not self._poll().poll(0)

    def _poll(self) -> select.poll:
        over = select.poll()
        over.register(self._pidfd, select.POLLIN)
        return over

    def kill(self) -> None:
        """End it, at once. May be called at any time, also twice."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Kill it and wait until nothing is left of it; nothing else may follow."""
        if self._pidfd < 0:
            return
        self.kill()
        self._poll().poll()
        self._reap()
        os.close(self._pidfd)
        self._pidfd = -1

    async def ended(self) -> int | None:
        """Wait for its end; the exit code, negative for a signal, None where it can't be known."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def over() -> None:
            if not done.done():
                done.set_result(None)

        # A duplicate: several may wait, and an asyncio loop has one callback for a descriptor.
        fd = os.dup(self._pidfd)
        loop.add_reader(fd, over)
        try:
            await done
        finally:
            loop.remove_reader(fd)
            os.close(fd)
        return self._reap()

    def _reap(self) -> int | None:
        status = _host.wait_status_of(self._pidfd, self.pid)
        return None if status is None else os.waitstatus_to_exitcode(status)


class Child(Process):
    """A QEMU that this process has started."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        super().__init__(popen.pid)

    def _reap(self) -> int:
        return self._popen.wait()
