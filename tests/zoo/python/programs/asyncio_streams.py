"""asyncio: tasks that hold locks, an executor at work, a server and a connection to it go on in each clone."""

import asyncio

from harness import afamily, own_address

from gridcentric import guest

handlers: set[asyncio.Task] = set()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    handlers.add(asyncio.current_task())
    while line := await reader.readline():
        writer.write(b"%d %s" % (guest.vmid(), line))
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lock, order = asyncio.Lock(), []

    async def in_turn(n: int) -> None:
        async with lock:
            await asyncio.sleep(0.05)
            order.append(n)

    tasks = [asyncio.create_task(in_turn(n)) for n in range(4)]
    thread = asyncio.get_running_loop().run_in_executor(None, sum, range(1_000_000))
    await asyncio.sleep(0.01)

    async def work(vmid: int) -> list[str]:
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3] and await thread == 499999500000
        writer.write(b"inherited\n")
        inherited = await reader.readline()
        own_reader, own_writer = await asyncio.open_connection(own_address(), port)
        own_writer.write(b"own\n")
        said = [inherited.decode(), (await own_reader.readline()).decode()]
        own_writer.close()
        return said

    master, clones = await afamily(work)
    assert master == ["0 inherited\n", "0 own\n"], master
    writer.close()
    await asyncio.gather(*handlers)
    assert clones == [[f"{vmid} inherited\n", f"{vmid} own\n"] for vmid in (1, 2, 3)], clones


asyncio.run(main())
