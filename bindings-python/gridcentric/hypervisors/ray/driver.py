"""The cluster on the driver contract: what a ticket is granted by, and what became of VMs whose computer is gone. The rest
of the contract is the qemu hypervisor's, which does not know where its VMs are."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import cast

from gridcentric.hypervisors import Answer
from gridcentric.hypervisors.qemu.driver import QemuDriver
from gridcentric.hypervisors.qemu.family import FamilyError, Machines
from gridcentric.hypervisors.ray.cluster import ClusterMachines


class RayDriver(QemuDriver):
    name = "ray"

    def __init__(self, loop: asyncio.AbstractEventLoop, machines: ClusterMachines) -> None:
        super().__init__(loop, cast(Machines, machines))
        self._cluster = machines
        self._asked: tuple[str, Future[None]] | None = None  # the last ticket, and the work on its answer
        machines.on_lost = self._lost
        machines.on_room = self._room

    def capabilities(self) -> dict[str, object]:
        kinds = sorted({member.kind for member in self._cluster.members()})
        why = f"{len(self._cluster.members())} computers: {'; '.join(kinds)}; clones load their master's state onto a template"
        return {"clone": True, "clone_of_clone": True, "whole_machine": True, "mode": "cluster", "why": why}

    def reserve(self, ticket: str, domain: int, least: int, most: int, cpus_per_vm: int, answer: Answer) -> None:
        self._asked = ticket, self._submit(self._reserve(ticket, domain, least, most, cpus_per_vm, answer))

    async def _reserve(self, ticket: str, domain: int, least: int, most: int, cpus_per_vm: int, answer: Answer) -> None:
        try:
            size = self._cluster.size_of(domain, cpus_per_vm)
            where = await self._cluster.tickets.reserve(ticket, size, least, most)
            if not where:
                answer.later(
                    f"the cluster has no room for {least} VMs of {cpus_per_vm} CPUs and {int(size.memory) >> 20} MiB each now"
                )
                return
            master = self._cluster.get(domain)
            await self._cluster.computers_of(ticket, "" if master is None else master.family)
            answer.granted(len(where))
        except Exception as error:  # whatever Ray says: the line waits for an answer
            self._cluster.tickets.release(ticket)
            answer.refused(str(error) if isinstance(error, FamilyError) else f"Ray: {error}")

    def release(self, ticket: str) -> None:
        if self._asked is not None and self._asked[0] == ticket:
            self._asked[1].cancel()  # else it would ask Ray for more after this
        self._loop.call_soon_threadsafe(self._cluster.tickets.release, ticket)

    def pid_of(self, domain: int) -> int:
        return -1  # no process of this computer, or of another

    def domain_of(self, pid: int) -> int:
        return 0

    def _room(self) -> None:
        self._listener.room()

    def _lost(self, key: int) -> None:
        self._how.setdefault(key, ("lost", 0))
