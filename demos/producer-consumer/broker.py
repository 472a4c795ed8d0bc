"""A RabbitMQ of the demo's own: node name, ports and data belong to it alone, on 127.0.0.1. Knows no jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Optional

import pika
from consuming import GONE
from stage.performance import Failed
from stage.programs import Programs, free_port, required

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one on PATH becomes another user
CONFIG = """listeners.tcp.default = 127.0.0.1:{port}
log.console = true
log.console.level = error
log.file = false
"""


def parameters(port: int) -> pika.ConnectionParameters:
    return pika.ConnectionParameters("127.0.0.1", port, heartbeat=60)


class Broker:
    def __init__(self, programs: Programs) -> None:
        required("rabbitmqctl", "rabbitmq-server")
        self._programs, self._folder = programs, programs.folder / "rabbitmq"
        self.port, self._names, self._distribution = free_port(), free_port(), free_port()
        self._process: Optional[asyncio.subprocess.Process] = None

    async def start(self) -> None:
        """Returns when it accepts connections."""
        if not self._folder.exists():
            self._folder.mkdir()
            (self._folder / "rabbitmq.conf").write_text(CONFIG.format(port=self.port))
            (self._folder / "plugins").write_text("[].\n")
            await self._start_names()
        with (self._folder / "output").open("ab") as output:
            self._process = await self._programs.start(str(SERVER), env=self._environment(), stdout=output, stderr=output)
        try:
            while not await asyncio.to_thread(self._accepts):
                if self._process.returncode is not None:
                    raise Failed(f"RabbitMQ did not start:\n{(self._folder / 'output').read_text()[:2000]}")
                await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            await self._programs.end(self._process, signal.SIGKILL)  # while it starts, it forgets a SIGTERM
            raise

    async def _start_names(self) -> None:
        """Erlang's name server. A broker that did not find it would start another, which stays behind and takes its port."""
        epmd = ["epmd", "-port", str(self._names), "-address", "127.0.0.1"]
        process = await self._programs.start(required(epmd[0], "erlang-base"), *epmd[1:])
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._names)
                writer.write(b"\0\1n")  # asks for the names that it knows; the answer ends with the connection
                answered = await reader.read()
                writer.close()
                if answered:
                    return
            if process.returncode is not None:
                raise Failed(f"Erlang's name server did not start: exit code {process.returncode}")
            await asyncio.sleep(0.02)

    def _accepts(self) -> bool:
        try:
            pika.BlockingConnection(parameters(self.port)).close()
        except GONE:
            return False
        return True

    def _environment(self) -> dict[str, str]:
        folder, node = self._folder, f"gridcentric-demo-{os.getpid()}@localhost"
        # With these, Erlang opens the distribution port once, as it starts. RabbitMQ would open and close it twice before, to
        # see whether port and name are free; a port that Erlang closes can stay in use for a moment ("nodistribution").
        ports = f"inet_dist_listen_min {self._distribution} inet_dist_listen_max {self._distribution}"
        arguments = f"-sname {node} -kernel inet_dist_use_interface {{127,0,0,1}} {ports}"
        return {
            "HOME": str(folder),
            "ERL_CRASH_DUMP": str(folder / "crash"),  # not into the working folder
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": arguments,
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }

    async def restart(self) -> None:
        assert self._process is not None
        await self._programs.end(self._process)
        await self.start()
