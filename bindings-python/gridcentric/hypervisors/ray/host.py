"""A host whose VMs are on the computers of a Ray cluster: the qemu hypervisor's host with the cluster in place of this
computer's machines, and this process's connection to Ray."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import ray

from gridcentric.hypervisors.qemu.driver import QemuDriver
from gridcentric.hypervisors.qemu.family import Machines
from gridcentric.hypervisors.qemu.host import HostError, MachineHost
from gridcentric.hypervisors.qemu.machine_domain import MachineEvents
from gridcentric.hypervisors.ray.cluster import ClusterMachines
from gridcentric.hypervisors.ray.driver import RayDriver
from gridcentric.hypervisors.ray.tickets import alive


class ClusterHost(MachineHost):
    """All methods belong to one asyncio loop."""

    def __init__(
        self, folder: Path, socket: str, cpus: int, control: bool = False, outside: bool = False, strategy: str = "PACK"
    ) -> None:
        """cpus: for tickets; 0: as many as the computers have that are in the cluster now."""
        if outside:
            raise HostError("--outside: VMs on a cluster have no way out yet: leave it out, or use --hypervisor qemu")
        self._strategy = strategy
        super().__init__(folder, socket, cpus or _cpus_now(), control)

    def _begin(self, folder: Path, socket: str, secret: str, events: MachineEvents, outside: bool) -> QemuDriver:
        machines = ClusterMachines(folder, socket, secret, events, self._strategy)
        self.machines = cast(Machines, machines)
        return RayDriver(self._loop, machines)


def _cpus_now() -> int:
    return max(1, int(sum(node["Resources"].get("CPU", 0) for node in alive().values())))


@contextlib.contextmanager
def connected(address: str, strategy: str) -> Iterator[Any]:
    """A connection to Ray; what makes a host on it. address: "auto", or a host and a port. Raises HostError."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(
            address=address, namespace="gridcentric", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
        )
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        said = (str(error).strip().splitlines() or [repr(error)])[0]
        raise HostError(f"there is no Ray cluster at {address} ({said}): ray start --head, or --address HOST:PORT") from error
    try:
        for number, handler in before.items():  # Ray has taken them for itself
            signal.signal(number, handler)
        yield partial(ClusterHost, strategy=strategy)
    finally:
        ray.shutdown()
