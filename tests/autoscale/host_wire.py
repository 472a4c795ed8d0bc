"""A connection of the tests to their host."""

from __future__ import annotations

import asyncio
import contextlib


class Wire:
    """A connection to the host that speaks the guest protocol, as `control` or as a domain."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._lock = asyncio.Lock()

    @classmethod
    async def connect(cls, path: str, hello: str) -> Wire:
        wire = cls(*await asyncio.open_unix_connection(path))
        wire._writer.write(f"gridcentric/1 {hello}\n".encode())
        answer = await wire._reader.readline()
        assert answer.startswith(b"gridcentric/1 ok"), answer
        return wire

    async def ask(self, request: str) -> list[list[str]]:
        """The fields of the items, those of the `ok` last."""
        async with self._lock:
            self._writer.write(f"1 {request}\n".encode())
            rows: list[list[str]] = []
            while True:
                _, kind, *fields = (await self._reader.readline()).decode().split()
                assert kind in ("item", "ok"), f"{request}: {kind} {' '.join(fields)}"
                rows.append(fields)
                if kind == "ok":
                    return rows

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
