"""The trunk between computers: frames get to the others once, come back after a cut, and what can't be reached is an error."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from gridcentric.hypervisors.ray import trunk
from gridcentric.hypervisors.ray.link import Listener, dial
from gridcentric.hypervisors.ray.trunk import OWN_MAC, Trunk, unreachable

SECRET = b"t" * 32
ALL = b"\xff" * 6
HANG_GUARD_S = 30


def mac(number: int) -> bytes:
    return b"\x52\x54\x0a\x4d\x01" + bytes([number])


def frame(target: bytes, source: bytes, text: bytes = b"hello") -> bytes:
    return target + source + b"\x88\xb5" + text


class End:
    """One computer's, with the test in place of its bridge."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bridge, station = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.bridge.setblocking(False)
        self.trunk = Trunk(name, station.detach(), SECRET)
        self._listener = Listener(SECRET, self._serve)
        self.where = self._listener.start("127.0.0.1")

    async def _serve(self, purpose: str, connection: socket.socket) -> None:
        await self.trunk.carry(purpose.split(" ")[1], connection.dup())

    async def close(self) -> None:
        self.trunk.close()
        await self._listener.close()
        self.bridge.close()

    async def hears(self) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.bridge, 65550), HANG_GUARD_S)

    async def reaches(self, many: int) -> None:
        async def until() -> None:
            while len(self.trunk.reaches()) != many:
                await asyncio.sleep(0.01)

        await asyncio.wait_for(until(), HANG_GUARD_S)


@contextlib.asynccontextmanager
async def joined(many: int) -> AsyncIterator[list[End]]:
    ends = [End("abc"[number]) for number in range(many)]
    for end in ends:
        end.trunk.set_others({other.name: other.where for other in ends if other is not end})
    try:
        for end in ends:
            await end.reaches(many - 1)
        yield ends
    finally:
        for end in ends:
            await end.close()


def test_frames_go_to_all_others_once_and_answers_to_one() -> None:
    async def main() -> None:
        async with joined(3) as (a, b, c):
            a.bridge.send(frame(ALL, mac(1)))
            assert await b.hears() == await c.hears() == frame(ALL, mac(1))
            b.bridge.send(frame(mac(1), mac(2)))
            assert await a.hears() == frame(mac(1), mac(2))
            a.bridge.send(frame(mac(2), mac(1), b"to b alone"))
            assert await b.hears() == frame(mac(2), mac(1), b"to b alone")
            # What c hears next is what was sent next: nothing of all that, and nothing that b has passed on.
            a.bridge.send(frame(ALL, mac(1), b"last"))
            assert await c.hears() == frame(ALL, mac(1), b"last")

    asyncio.run(main())


def test_what_the_bridge_itself_says_stays_on_its_computer() -> None:
    async def main() -> None:
        async with joined(2) as (a, b):
            a.bridge.send(frame(ALL, OWN_MAC))
            a.bridge.send(frame(OWN_MAC, mac(1)))
            a.bridge.send(frame(ALL, mac(1), b"first to be heard"))
            assert await b.hears() == frame(ALL, mac(1), b"first to be heard")

    asyncio.run(main())


def ping(target: bytes, source: bytes) -> bytes:
    echo = struct.pack(">BBHHH", 8, 0, 0, 1, 1)
    packet = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(echo), 0, 0, 64, 1, 0, bytes([10, 77, 0, 1]), bytes([10, 77, 0, 2]))
    return target + source + b"\x08\x00" + packet + echo


def test_a_cut_is_an_error_and_is_mended() -> None:
    async def main() -> None:
        async with joined(2) as (a, b):
            b.bridge.send(frame(ALL, mac(2)))  # so that a knows where it is
            await a.hears()
            a.trunk.set_others({})
            a.trunk._ends["b"].transport.abort()
            b.trunk.set_others({})
            await a.reaches(0)
            a.trunk._learned[mac(2)] = "b"
            a.bridge.send(ping(mac(2), mac(1)))
            answer = await a.hears()
            assert answer[:12] == mac(1) + mac(2)
            assert answer[34:36] == b"\x03\x01", "host unreachable"
            for one, other in ((a, b), (b, a)):
                one.trunk.set_others({other.name: other.where})
            await a.reaches(1)
            a.bridge.send(ping(mac(2), mac(1)))
            assert await b.hears() == ping(mac(2), mac(1))

    asyncio.run(main())


def test_a_broken_connection_is_made_again() -> None:
    async def main() -> None:
        async with joined(2) as (a, b):
            before = a.trunk._ends["b"]
            before.transport.abort()
            while a.trunk._ends.get("b") in (None, before):
                await asyncio.sleep(0.01)
            await b.reaches(1)
            a.bridge.send(frame(ALL, mac(1)))
            assert await b.hears() == frame(ALL, mac(1))

    asyncio.run(asyncio.wait_for(main(), HANG_GUARD_S))


def test_silence_is_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the end of its connection: as when a cable is pulled. Those that say that they are there stay."""
    monkeypatch.setattr(trunk, "ALIVE_S", 0.05)
    monkeypatch.setattr(trunk, "SILENCE_S", 1)

    async def main() -> None:
        async with joined(2) as (a, b):
            connection = a.trunk._ends["b"]
            with await dial(a.where, SECRET, "trunk silent"):
                await a.reaches(2)
                await a.reaches(1)
            assert a.trunk._ends == {"b": connection}
            a.bridge.send(frame(ALL, mac(1)))
            assert await b.hears() == frame(ALL, mac(1))

    asyncio.run(main())


def test_only_packets_that_may_be_answered_are() -> None:
    assert unreachable(frame(mac(2), mac(1))) == b"", "no IP"
    assert unreachable(ping(mac(2), mac(1))[:30]) == b"", "cut short"
    answer = unreachable(ping(mac(2), mac(1)))
    assert unreachable(answer) == b"", "an error about an error"
    head, message = answer[14:34], answer[34:]
    for part in (head, message):
        total = sum(struct.unpack(f">{len(part) // 2}H", part))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF, "the checksum"
    assert head[12:] == bytes([10, 77, 0, 2, 10, 77, 0, 1])
    assert message[8:] == ping(mac(2), mac(1))[14:]
