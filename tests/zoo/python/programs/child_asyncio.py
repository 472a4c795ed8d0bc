"""asyncio's subprocess: the master talks on with its child, a clone reads the end of file and starts its own children."""
# stderr: Unknown child process pid \d+, will report returncode 255

import asyncio
from asyncio.subprocess import PIPE

from harness import afamily


async def main() -> None:
    child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    child.stdin.write(b"before\n")
    assert await child.stdout.readline() == b"before\n"
    waiting = asyncio.create_task(child.stdout.readline())
    await asyncio.sleep(0)

    async def work(vmid: int) -> list[str]:
        own = await asyncio.create_subprocess_exec("echo", "own", stdout=PIPE)
        said, _ = await own.communicate()
        if not vmid:
            child.stdin.write(b"after\n")
        return [(await waiting).decode(), said.decode(), str(own.returncode)]

    master, clones = await afamily(work)
    assert master == ["after\n", "own\n", "0"], master
    assert clones == [["", "own\n", "0"]] * 3, clones
    child.stdin.close()
    assert await child.wait() == 0


asyncio.run(main())
