"""A program's input: no more is read than there is room for, and all of it arrives in order."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from gridcentric.hypervisors.qemu.streams import READ, Input

PIPE = 65536  # pipe(7)


def test_nothing_is_read_that_has_no_room() -> None:
    async def main() -> None:
        end, ours = os.pipe()
        os.set_blocking(ours, False)
        room, over, got = asyncio.Event(), asyncio.Event(), bytearray()

        async def take(data: bytes) -> None:
            got.extend(data)
            if not data:
                over.set()
            await room.wait()

        given = bytearray()
        reader = Input(end, take)
        for _ in range(100):
            try:
                piece = os.urandom(4096)
                given += piece[: os.write(ours, piece)]
            except BlockingIOError:
                pass
            await asyncio.sleep(0)
        assert 0 < len(got) <= READ
        assert len(given) <= PIPE + READ
        room.set()
        os.close(ours)
        await over.wait()
        reader.close()
        os.close(end)
        assert got == given

    asyncio.run(main())


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").write_bytes(content := os.urandom(3 * READ + 1))
        with (tmp_path / "file").open("rb") as file:
            got: list[bytes] = []
            over = asyncio.Event()

            async def take(data: bytes) -> None:
                got.append(data)
                if not data:
                    over.set()

            reader = Input(file.fileno(), take)
            await over.wait()
            reader.close()
            assert b"".join(got) == content

    asyncio.run(main())
