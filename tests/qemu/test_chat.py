"""The chat in VMs, as make demo starts it: the same programs as on the process hypervisor, in both languages."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "demos"))
from demo_harness import DEMOS, Chatter, Demo, demo, five_users


def machines(chat: Demo) -> int:
    """How many VMs there are."""
    return sum(b"-kernel" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in chat.processes())


@pytest.mark.usefixtures("vms")
@pytest.mark.parametrize("language", ["node", pytest.param("python", marks=pytest.mark.full)])
def test_five_users_are_on_three_vms(language: str) -> None:
    async def main(folder: Path) -> None:
        async with demo(folder) as chat:
            await chat.start(
                [str(DEMOS / "run")], PORT=str(chat.port), APP=language, CROWD="0", HYPERVISOR="qemu", VIRTUAL_ENV=sys.prefix
            )
            users = await five_users(chat)
            assert machines(chat) == 4  # the master is nobody's
            # The master's own room has heard nothing of all that.
            late = await Chatter(chat.app_url, "late").join()
            assert late.heard() == ["said before"]
            for user in (*users, late):
                await user.close()
            os.killpg(chat.process.pid, signal.SIGINT)  # Ctrl-C
            assert await chat.process.wait() == 128 + signal.SIGINT
            await chat.nothing_left()
            said = chat.log.read_text()
            assert f"http://localhost:{chat.port}/_gridcentric" in said
            assert "gc: booting default" in said

    with tempfile.TemporaryDirectory(prefix="gcq-") as folder:  # not tmp_path: the path of a socket is short
        asyncio.run(main(Path(folder)))
