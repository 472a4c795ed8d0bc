"""trio: tasks in a nursery, a server and threads go on in each clone."""

from functools import partial

import trio
from harness import family, own_address

from gridcentric import guest


async def main() -> None:
    counts = {"ticks": 0}

    async def tick() -> None:
        while True:
            counts["ticks"] += 1
            await trio.sleep(0.005)

    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(b"%d" % guest.vmid())
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        [listener] = await nursery.start(partial(trio.serve_tcp, answer, 0, host="0.0.0.0"))
        port = listener.socket.getsockname()[1]

        async def work(vmid: int) -> int:
            before = counts["ticks"]
            with trio.fail_after(60):
                while counts["ticks"] < before + 5:
                    await trio.sleep(0.001)
                assert await trio.to_thread.run_sync(sum, range(1000)) == 499500
                stream = await trio.open_tcp_stream(own_address(), port)
                return int(await stream.receive_some())

        def in_trio(vmid: int) -> int:
            return trio.from_thread.run(work, vmid)

        # A thread clones, while the loop runs in the main one.
        master, clones = await trio.to_thread.run_sync(family, in_trio)
        assert [master, *clones] == [0, 1, 2, 3], (master, clones)
        nursery.cancel_scope.cancel()


trio.run(main)
