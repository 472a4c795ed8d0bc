"""gc run's side of a family, with machines that may say anything."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gridcentric.hypervisors.qemu.run import PROGRAM, Run


@pytest.mark.parametrize(("codes", "expected"), [
    ((0, 3, 7), [("bye", 0), ("ended", 0)]),
    ((3, 0, 7), [("ended", 3)]),  # a master that fails takes its family along: no goodbye
])  # fmt: skip
def test_a_machine_that_says_its_end_again(codes: tuple[int, ...], expected: list[tuple[str, int]]) -> None:
    """Its program has ended once, as it was said first."""
    heard: list[tuple[str, int]] = []

    async def main() -> None:
        async def bye() -> None:
            heard.append(("bye", 0))
            await asyncio.sleep(0)

        host: Any = SimpleNamespace(program_ended=lambda key, code: heard.append(("ended", code)))
        wish: Any = None
        run = Run(host, wish, (0, 1, 2), lambda text: None)
        master: Any = SimpleNamespace(key=1, say_bye=bye)
        run._master = master
        for code in codes:
            run.exited(1, PROGRAM, code)
        while run._tasks:
            await asyncio.wait(run._tasks)
        assert run._code == codes[0]

    asyncio.run(main())
    assert heard == expected
