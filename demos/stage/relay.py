"""In a VM: runs a program, for which 127.0.0.1 has the demo's servers on the same ports as outside, in the master and in its
clones. The other side is vms.py.

    relay.py TUNNEL PORT... -- COMMAND...

The demo outside keeps connections open to port TUNNEL of the master. Whoever connects to one of the ports gets one of these;
in a clone, by way of its master."""

import asyncio
import os
import sys

from gridcentric import guest

TUNNEL, *PORTS = map(int, sys.argv[1 : sys.argv.index("--")])
COMMAND = sys.argv[sys.argv.index("--") + 1 :]


async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


class Relay:
    def __init__(self):
        self._master = guest.my_ip()
        self._waiting = asyncio.Queue()  # connections from outside that nobody uses yet
        self._serving = set()  # asyncio itself keeps no task that waits

    async def _outside(self, port):
        """A connection to that port outside."""
        if guest.vmid() != 0:
            return await asyncio.open_connection(self._master, port)
        while True:
            reader, writer = await self._waiting.get()
            if not reader.at_eof() and not writer.is_closing():
                writer.write(f"{port}\n".encode())
                return reader, writer

    def _begin(self, port, *user):
        task = asyncio.create_task(self._serve(port, *user))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, port, reader, writer):
        outside = None
        try:
            outside = await self._outside(port)
            await asyncio.gather(copy(reader, outside[1]), copy(outside[0], writer))
        except OSError:
            pass  # one of them has gone, or stayed with the master
        finally:
            writer.close()
            if outside:
                outside[1].close()

    async def run(self, listening):
        guest.serve()  # `gc clone --of` may clone the VM, whatever program runs in it
        await asyncio.start_server(lambda *outside: self._waiting.put_nowait(outside), "0.0.0.0", TUNNEL)
        for port in PORTS:
            await asyncio.start_server(lambda *user, port=port: self._begin(port, *user), "0.0.0.0", port)
        os.write(listening, b".")
        os.close(listening)
        await asyncio.get_running_loop().create_future()


ready, listening = os.pipe()
if os.fork() == 0:
    os.close(ready)
    asyncio.run(Relay().run(listening))
os.close(listening)
os.read(ready, 1)
os.execvp(COMMAND[0], COMMAND)
