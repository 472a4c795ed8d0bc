"""The driver's side of netns.py: taps for machines, connections to them, addresses. Belongs to one asyncio loop."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import subprocess
import sys
from collections import deque

from gridcentric.hypervisors.qemu.addresses import ADDRESS, PREFIX
from gridcentric.hypervisors.qemu.outside import GATEWAY, NAMES, STATIONS, Outside, OutsideError
from gridcentric.hypervisors.qemu.started_programs import launched

# Not imported here: netlink is the helper's concern, and takes 0.1 s to load.
HELPER = "gridcentric.hypervisors.qemu.netns"


class NetworkError(Exception):
    """There is no network for machines here; the text says what refused."""


class Network:
    PREFIX = PREFIX
    NOBODY = ADDRESS  # the host's own: no machine has it

    def __init__(self, outside: bool = False) -> None:
        """outside: machines reach what this machine reaches."""
        self._wants_outside = outside
        self._outside: Outside | None = None
        self._last_id = 0
        self._asked: dict[int, asyncio.Future[list[int]]] = {}
        self._channel: socket.socket
        self._process: subprocess.Popen[bytes]
        # Addresses of ended machines come last: someone may still have one in mind.
        hosts = ipaddress.ip_network(f"{ADDRESS}/{PREFIX}", strict=False).hosts()
        stations = ipaddress.ip_network(STATIONS)
        self._free = deque(str(ip) for ip in hosts if str(ip) != ADDRESS and ip not in stations)
        self._taken: set[str] = set()
        self.substitute = ""  # why there is no bridge, but a slower switch in its place

    async def start(self) -> None:
        """Raises NetworkError if neither a bridge nor a switch can be made."""
        self._channel, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            command = launched([sys.executable, "-m", HELPER, str(there.fileno())])
            # In its own session: what a terminal's Ctrl-C ends is this process, which ends the helper.
            self._process = subprocess.Popen(
                command, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._channel.setblocking(False)
        loop = asyncio.get_running_loop()
        first: asyncio.Future[list[int]] = loop.create_future()
        self._asked[0] = first
        loop.add_reader(self._channel, self._read)
        await first
        if self._wants_outside:
            try:
                await self._go_outside()
            except BaseException:
                self.close()
                raise

    async def _go_outside(self) -> None:
        if self.substitute:
            raise NetworkError(f"--outside: only a bridge has a way out. {self.substitute}")
        try:
            self._outside = await Outside.of(self._process.pid, self._join)
        except OutsideError as error:
            raise NetworkError(f"--outside: {error}") from error

    async def _join(self, interface: str) -> None:
        await self._ask("join", interface)

    @property
    def has_outside(self) -> bool:
        return self._outside is not None

    @property
    def way_out(self) -> tuple[str, str]:
        """The addresses of the gateway and of the name server; "-": none."""
        return (GATEWAY, NAMES) if self._outside is not None else ("-", "-")

    def close(self) -> None:
        if self._outside is not None:
            self._outside.close()
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def address(self) -> str:
        if not self._free:
            raise NetworkError("all addresses of 10.77.0.0/16 are taken")
        address = self._free.popleft()
        self._taken.add(address)
        return address

    def give_back(self, address: str) -> None:
        """May be called twice."""
        if address in self._taken:
            self._taken.remove(address)
            self._free.append(address)

    async def tap(self, name: str) -> int:
        """A tap that is not on the bridge yet; the caller closes the descriptor."""
        return (await self._ask("tap", name))[0]

    async def plug(self, name: str, ip: str, mac: str) -> None:
        """From here on the machine behind it has this address."""
        await self._ask("plug", name, ip, mac)

    async def station(self, name: str) -> int:
        """A tap on the bridge for something other than a machine; the caller closes the descriptor."""
        tap = await self.tap(name)
        await self._ask("plug" if self.substitute else "join", name)
        return tap

    async def drop(self, name: str) -> None:
        await self._ask("drop", name)

    async def connect(self, ip: str, port: int) -> socket.socket:
        """A TCP connection to a machine. NetworkError when it does not answer."""
        connection = socket.socket(fileno=(await self._ask("connect", ip, port))[0])
        connection.setblocking(False)
        return connection

    async def _ask(self, *words: object) -> list[int]:
        self._last_id += 1
        future = asyncio.get_running_loop().create_future()
        self._asked[self._last_id] = future
        try:
            self._channel.send(" ".join(map(str, (self._last_id, *words))).encode())
        except OSError as error:
            raise NetworkError(f"the network's helper is gone: {error}") from error
        result: list[int] = await future
        return result

    def _read(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._channel, 4096, 4)
        for fd in fds:
            os.set_inheritable(fd, False)
        if not data:
            asyncio.get_running_loop().remove_reader(self._channel)
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(NetworkError("the network's helper is gone"))
            return
        number, verdict, *text = data.decode(errors="replace").split(" ", 2)
        future = self._asked.pop(int(number))
        if number == "0" and verdict == "ok":
            self.substitute = text[0] if text else ""
        if future.done():
            for fd in fds:
                os.close(fd)
        elif verdict == "ok":
            future.set_result(fds)
        else:
            future.set_exception(NetworkError(text[0] if text else "refused"))
