"""A way out of the machines' network, on request: slirp4netns, a TCP/IP stack in a process of this user, is one more
station of the bridge, through which machines reach what this machine reaches, but not its loopback.

Knows nothing of machines. Belongs to one asyncio loop.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from gridcentric.hypervisors.qemu.started_programs import launched
from gridcentric.hypervisors.qemu.user_messages import tell

PROGRAM = "slirp4netns"
INTERFACE = "outside"
# In the machines' network, and given to no machine. slirp4netns itself takes the second and third address.
STATIONS = "10.77.255.0/24"
GATEWAY, NAMES = "10.77.255.2", "10.77.255.3"


class OutsideError(Exception):
    """There is no way out; the text says why and what to do."""


class Outside:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._end = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._end, self._ended)

    @classmethod
    async def of(cls, pid: int, join: Callable[[str], Awaitable[None]]) -> Outside:
        """The way out of the network namespace of a process; join(interface) puts it on the bridge. Raises OutsideError."""
        if shutil.which(PROGRAM) is None:
            raise OutsideError(f"there is no {PROGRAM} on PATH: apt-get install {PROGRAM}")
        command = [PROGRAM, "--disable-host-loopback", f"--cidr={STATIONS}", "--ready-fd", "{ready}", str(pid), INTERFACE]
        if Path("/proc/self/ns/user").readlink() != Path(f"/proc/{pid}/ns/user").readlink():
            command.insert(1, f"--userns-path=/proc/{pid}/ns/user")
        reading, ready = os.pipe()
        try:
            process = subprocess.Popen(
                launched([word.format(ready=ready) for word in command]), pass_fds=[ready], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
        finally:
            os.close(ready)
        try:
            is_ready = await _first_byte(reading)
        finally:
            os.close(reading)
        if not is_ready:
            said = process.communicate()[1].decode(errors="replace").strip().splitlines()
            raise OutsideError(f"{PROGRAM} does not start: {said[-1] if said else process.returncode}")
        outside = cls(process)
        try:
            await join(INTERFACE)
        except BaseException:
            outside.close()
            raise
        return outside

    def close(self) -> None:
        self._forget()
        self._process.kill()
        self._process.communicate()

    def _ended(self) -> None:
        self._forget()
        self._process.communicate()
        tell(f"{PROGRAM} has ended ({self._process.returncode}): VMs reach nothing outside any more")

    def _forget(self) -> None:
        if self._end >= 0:
            asyncio.get_running_loop().remove_reader(self._end)
            os.close(self._end)
            self._end = -1


async def _first_byte(fd: int) -> bool:
    """False: the other end was closed without one."""
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
    return os.read(fd, 1) != b""
