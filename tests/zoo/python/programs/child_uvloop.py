"""uvloop's subprocess: the master's children go on; in a clone they have been killed, and it cannot reach the master's."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE

import uvloop
from harness import afamily


async def main() -> None:
    talking, killed = [await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE) for _ in range(2)]
    talking.stdin.write(b"before\n")
    assert await talking.stdout.readline() == b"before\n"
    waiting = asyncio.create_task(killed.wait())
    reading = asyncio.create_task(talking.stdout.readline())
    await asyncio.sleep(0)

    async def work(vmid: int) -> list[object]:
        own = await asyncio.create_subprocess_exec("sh", "-c", "echo own; exit 3", stdout=PIPE)
        said, _ = await own.communicate()
        if not vmid:
            talking.stdin.write(b"after\n")
            return [(await reading).decode(), said.decode(), own.returncode]
        with contextlib.suppress(ProcessLookupError):
            killed.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(killed.pid, signal.SIGKILL)
        return [(await reading).decode(), said.decode(), own.returncode, await waiting, await talking.wait()]

    master, clones = await afamily(work)
    assert master == ["after\n", "own\n", 3], master
    assert clones == [["", "own\n", 3, -9, -9]] * 3, clones
    assert killed.returncode is None, "a clone has ended the master's child"
    for child in (killed, talking):
        child.stdin.close()
        assert await child.wait() == 0


uvloop.run(main())
