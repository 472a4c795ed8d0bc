"""The VMs' networks of the computers as one: a station on this computer's bridge carries Ethernet frames to the stations of
the others, over one TCP connection to each (a link). Knows nothing of VMs or Ray.

A frame from here goes to where its target was last heard, or else to all; one from there goes to the bridge here and never
to a third computer, so that there are no loops. What a computer's bridge itself says stays here: it has one address on all
computers.

A connection that breaks or falls silent is made again by that one of the two which dials. While there is none, a packet for
a VM behind it is answered with "host unreachable" (ICMP), so that its sender has an error and does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections.abc import Mapping

from gridcentric.hypervisors.qemu.addresses import ADDRESS
from gridcentric.hypervisors.ray.link import LinkError, dial

FRAME = 65550
AT_ONCE = 64  # frames, then it is another's turn
BUFFER = 4 << 20  # bytes on the way to a computer; more is lost, as on a wire
AGAIN_S = 0.5
ALIVE_S = 1  # an empty frame says that there is a connection
SILENCE_S = 5  # without any, it is taken for cut: packets must not vanish until TCP notices
MOST_LEARNED = 8192  # MACs; frames for others go to all
OWN_MAC = b"\x52\x54" + socket.inet_aton(ADDRESS)  # of the bridge on each computer
_VNET_HEADER = 10  # before each frame of a tap (IFF_VNET_HDR)


class Trunk:
    """The end here. All methods belong to one asyncio loop."""

    def __init__(self, name: str, station: int, secret: bytes) -> None:
        """name: of this computer. station: a descriptor of the bridge's station, this object's."""
        self._name = name
        self._station = station
        self._secret = secret
        self._header = b"" if stat.S_ISSOCK(os.fstat(station).st_mode) else bytes(_VNET_HEADER)
        self._dialing: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.StreamWriter] = {}
        self._learned: dict[bytes, str] = {}  # MAC -> the computer behind which it was last heard
        os.set_blocking(station, False)
        asyncio.get_running_loop().add_reader(station, self._from_here)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._station)
        os.close(self._station)
        for task in self._dialing.values():
            task.cancel()
        for end in self._ends.values():
            end.transport.abort()

    def reaches(self) -> list[str]:
        """The computers that there is a connection to."""
        return sorted(self._ends)

    def set_others(self, others: Mapping[str, tuple[str, int]]) -> None:
        """The other computers of the host, by name. Of two, that with the greater name dials."""
        for name in [name for name in self._dialing if name not in others]:
            self._dialing.pop(name).cancel()
        for name in [name for name in self._ends if name not in others]:
            self._ends[name].transport.abort()
        self._learned = {mac: name for mac, name in self._learned.items() if name in others}
        for name, address in others.items():
            if name < self._name and name not in self._dialing:
                self._dialing[name] = asyncio.create_task(self._dial(name, address))

    async def _dial(self, name: str, address: tuple[str, int]) -> None:
        while True:
            with contextlib.suppress(LinkError):
                await self.carry(name, await dial(address, self._secret, f"trunk {self._name}"))
            await asyncio.sleep(AGAIN_S)

    async def carry(self, name: str, sock: socket.socket) -> None:
        """Carry frames over a connection to that computer until it ends. The newest connection is the one that counts."""
        reader, writer = await asyncio.open_connection(sock=sock)
        before = self._ends.get(name)
        self._ends[name] = writer
        if before is not None:
            before.transport.abort()
        heard = asyncio.get_running_loop().time()

        async def watch() -> None:
            while asyncio.get_running_loop().time() - heard < SILENCE_S:
                writer.write(bytes(4))
                await asyncio.sleep(ALIVE_S)
            writer.transport.abort()

        watching = asyncio.create_task(watch())
        try:
            while True:
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                if length > FRAME:
                    return
                heard = asyncio.get_running_loop().time()
                self._from_there(name, await reader.readexactly(length))
        except (OSError, EOFError):
            pass
        finally:
            watching.cancel()
            if self._ends.get(name) is writer:
                del self._ends[name]
            writer.transport.abort()

    def _from_here(self) -> None:
        with contextlib.suppress(OSError):
            for _ in range(AT_ONCE):
                frame = os.read(self._station, FRAME)[len(self._header) :]
                if len(frame) >= 14 and frame[:6] != OWN_MAC and frame[6:12] != OWN_MAC:
                    self._send(frame)

    def _send(self, frame: bytes) -> None:
        target = None if frame[0] & 1 else self._learned.get(frame[:6])
        if target is not None and target not in self._ends:
            answer = unreachable(frame)
            if answer:
                self._to_bridge(answer)
            return
        for end in self._ends.values() if target is None else (self._ends[target],):
            if end.transport.get_write_buffer_size() < BUFFER:
                end.write(struct.pack(">I", len(frame)) + frame)

    def _from_there(self, name: str, frame: bytes) -> None:
        if len(frame) < 14 or frame[6:12] == OWN_MAC:
            return
        source = frame[6:12]
        if source in self._learned or len(self._learned) < MOST_LEARNED:  # a guest may invent as many as it likes
            self._learned[source] = name
        self._to_bridge(frame)

    def _to_bridge(self, frame: bytes) -> None:
        with contextlib.suppress(OSError):  # its buffer is full
            os.write(self._station, self._header + frame)


def _checksum(data: bytes) -> int:
    """Of the Internet (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def unreachable(frame: bytes) -> bytes:
    """The answer to a frame with an IPv4 packet that its target can't be reached (RFC 792), as if from the target; nothing to a
    frame of anything else, or to an error like this (RFC 1122)."""
    packet = frame[14:]
    if frame[12:14] != b"\x08\x00" or len(packet) < 20 or packet[0] >> 4 != 4:
        return b""
    head = (packet[0] & 15) * 4
    is_icmp = packet[9] == socket.IPPROTO_ICMP
    if len(packet) < head or (is_icmp and packet[head : head + 1] not in (b"\x00", b"\x08")):
        return b""
    quoted = packet[: head + 8]
    message = struct.pack(">BBHI", 3, 1, _checksum(struct.pack(">BBHI", 3, 1, 0, 0) + quoted), 0) + quoted
    fields = (0x45, 0, 20 + len(message), 0, 0, 64, socket.IPPROTO_ICMP)
    ends = packet[16:20] + packet[12:16]
    sum_ = _checksum(struct.pack(">BBHHHBBH", *fields, 0) + ends)
    return frame[6:12] + frame[:6] + frame[12:14] + struct.pack(">BBHHHBBH", *fields, sum_) + ends + message
