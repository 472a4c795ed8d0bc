"""Rows of the qemu hypervisor: VMs with a Node server in them, really cloned. "Answered" means that a clone has answered a
request on its own address with state that it inherited. The texts say whether KVM or TCG was used.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from gridcentric.hypervisors.qemu import images, leftovers
from gridcentric.hypervisors.qemu.host import MachineHost
from gridcentric.hypervisors.qemu.machine import accelerator
from gridcentric.hypervisors.qemu.network import NetworkError
from gridcentric.hypervisors.qemu.run import Run, Wish
from gridcentric.hypervisors.qemu.times import Times

from .report import Figure
from .servers import PROGRAMS, pss_mib, talk

MEMORY_MIB, LARGER_MIB = 256, 1024


def where() -> str:
    return f"{accelerator().name}, {os.cpu_count()} cores"


class Vm:
    """A server of bench/programs in a VM, and its clones."""

    def __init__(self, host: MachineHost, out: int) -> None:
        self.host = host
        self._out = out
        self.port = 0
        self.boot_ms = 0.0
        self.state = self.address = self._family = ""
        self.cloned: list[dict[str, Any]] = []

    async def ready(self, started: float) -> None:
        """Wait for its first answer."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._out))
        word, port = (await reader.readline()).split()
        assert word == b"ready"
        self.port = int(port)
        # The most recently booted one.
        master = [domain for domain in self.host.machines.all() if domain.vmid == 0][-1]
        self.address, self._family = master.ip, master.family
        self.state = (await self.ask(self.address, "/"))["state"]
        self.boot_ms = (time.perf_counter() - started) * 1e3

    async def ask(self, ip: str, path: str) -> dict[str, Any]:
        connection = await self.host.machines.network.connect(ip, self.port)
        return await talk(*await asyncio.open_connection(sock=connection), path)

    async def _until(self, clone: dict[str, Any]) -> None:
        while True:
            try:
                answer = await self.ask(clone["ip"], "/")
            except (NetworkError, OSError, asyncio.IncompleteReadError):
                continue  # refused at once or after the kernel's own retries, so this loop does not spin
            if (answer["vmid"], answer["state"]) != (clone["vmid"], self.state):
                raise RuntimeError(f"{clone} answered {answer}")
            return

    async def clone(self, n: int, of: str = "") -> float:
        """ms from the request for n clones until all have answered."""
        start = time.perf_counter()
        known = {c["vmid"] for c in self.cloned}
        call = await self.ask(of or self.address, f"/clone?n={n}")
        new = [c for c in call["clones"] if c["vmid"] not in known]
        await asyncio.gather(*(self._until(c) for c in new))
        if len(new) != n:
            raise RuntimeError(f"{n} clones were requested, but there are {len(new)}")
        self.cloned += new
        return (time.perf_counter() - start) * 1e3

    async def tickets(self, n: int, times: int) -> list[float]:
        """ms of each request of a ticket for n, which was released before the next."""
        answer = await self.ask(self.address, f"/tickets?n={n}&times={times}")
        return [float(ms) for ms in answer["ms"]]

    def pss(self, vmids: list[int]) -> list[float]:
        pids = [d.machine.process.pid for d in self.host.machines.all() if d.family == self._family and d.vmid in vmids]
        return list(pss_mib(pids).values())


@contextlib.asynccontextmanager
async def vms(
    program: str = "server.js",
    count: int = 1,
    memory_mib: int = MEMORY_MIB,
    make: Callable[[Path, str, int], MachineHost] = MachineHost,
) -> AsyncIterator[list[Vm]]:
    """VMs of one host, booted one after the other. make: makes the host."""
    image = images.ensure(images.DEFAULT, lambda text: print(f"  {text}", file=sys.stderr))
    runner = "node" if program.endswith(".js") else "python3"
    wish = Wish([runner, f"/root/{program}"], image, memory_mib, copy=((PROGRAMS / program, f"/root/{program}"),))
    with leftovers.host_folder() as folder:
        host = make(folder, f"{folder}/host.sock", 1000)
        await host.start()
        nothing = os.open("/dev/null", os.O_RDWR)
        runs, started, pipes = [], [], []
        try:
            for _ in range(count):
                out, there = os.pipe()
                pipes.append(there)
                begin = time.perf_counter()
                run = Run(host, wish, (nothing, there, 2), lambda text: None)
                runs.append((run, asyncio.create_task(run())))
                vm = Vm(host, out)
                await vm.ready(begin)
                started.append(vm)
            yield started
        finally:
            for run, task in runs:
                run.end(9)
                await asyncio.gather(task, return_exceptions=True)
            await host.close()
            for fd in (nothing, *pipes):
                os.close(fd)


def qemu61() -> list[Figure]:
    """1 -> 61 VMs with a Node server, all answered, cold and by a master that has cloned before; beside booting one"""

    async def measure() -> list[Figure]:
        async with vms() as [vm]:
            figures = []
            for state, bar in (("cold", 9000), ("warm", 4000)):
                ms = await vm.clone(61)
                times = vm.host.machines.pauses[-1]
                await vm.ask(vm.address, "/end")
                what = f"1 -> 61 VMs with a Node server, all answered, {state} ({where()})"
                details: dict[str, object] = {"load_ms": times.load, "pause_ms": times.pause, "a_clones_share_ms": ms / 61}
                bar_text = f"below {bar:,} ms"
                figures.append(Figure("qemu61", what, ms, "ms", "booting one", vm.boot_ms, bar_text, ms < bar, details))
            return figures

    return asyncio.run(measure())


def qemupause() -> list[Figure]:
    """pause of the master for 1 and for 8 VMs, of a larger one, and of a clone that is itself cloned, beside booting one"""
    parts = ("quiesce", "save", "copy", "load")

    async def pauses_for(vm: Vm, clones: int) -> list[Times]:
        """Of five times."""
        for _ in range(5):
            await vm.clone(clones)
            await vm.ask(vm.address, "/end")
        return list(vm.host.machines.pauses)[-5:]

    def median(pauses: list[Times]) -> float:
        return statistics.median(p.pause for p in pauses)

    async def measure() -> list[Figure]:
        async with vms() as [vm]:
            boot_ms = vm.boot_ms
            one, eight = await pauses_for(vm, 1), await pauses_for(vm, 8)
            await vm.clone(1)
            await vm.clone(1, of=vm.cloned[-1]["ip"])
            cloned = vm.host.machines.pauses[-1].pause
        async with vms(memory_mib=LARGER_MIB) as [vm]:
            large = median(await pauses_for(vm, 1))
        of_one, of_eight = median(one), median(eight)
        details: dict[str, object] = {name: statistics.median(getattr(p, name) for p in one) for name in parts}
        return [
            Figure("qemupause", f"pause of the master, {MEMORY_MIB} MB, median of 5 ({where()})", of_one, "ms",
                   "booting one", boot_ms, "below 20 ms", of_one < 20, details),
            Figure("qemupause", f"the same for 8 VMs ({where()})", of_eight, "ms", "for 1", of_one, "within 1.5x",
                   of_eight <= 1.5 * of_one),
            Figure("qemupause", f"the same of a VM of {LARGER_MIB:,} MB ({where()})", large, "ms",
                   f"of {MEMORY_MIB} MB", of_one),
            Figure("qemupause", f"pause of a cloned clone ({where()})", cloned, "ms", "booting one", boot_ms,
                   "below 500 ms", cloned < 500),
        ]  # fmt: skip

    return asyncio.run(measure())


def qemucornering() -> list[Figure]:
    """100 VMs of application A, all killed, 100 VMs of B, all answered, beside booting one"""

    async def measure() -> list[Figure]:
        async with vms(count=2) as [a, b]:
            start = time.perf_counter()
            await a.clone(100)
            await a.ask(a.address, "/end")
            await b.clone(100)
            ms = (time.perf_counter() - start) * 1e3
            what = f"A to 100 VMs, end, B to 100 VMs, all answered ({where()})"
            return [Figure("qemucornering", what, ms, "ms", "booting one", b.boot_ms, "below 35,000 ms", ms < 35000)]

    return asyncio.run(measure())


def qemumemory() -> list[Figure]:
    """PSS of a cloned VM that has answered, beside a booted one; the PSS of 61"""

    async def measure() -> list[Figure]:
        async with vms() as [vm]:
            booted = vm.pss([0])[0]
            await vm.clone(61)
            each = vm.pss([c["vmid"] for c in vm.cloned])
            mean, all_ = statistics.mean(each), sum(each) / 1024
            return [
                Figure("qemumemory", f"PSS of a cloned VM that has answered ({where()})", mean, "MiB", "a booted VM", booted),
                Figure("qemumemory", f"PSS of 61 of them ({where()})", all_, "GiB", bar="below 4 GiB", met=all_ < 4),
            ]

    return asyncio.run(measure())
