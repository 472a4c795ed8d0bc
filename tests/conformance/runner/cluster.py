"""The ray hypervisor as a host of the suite and of the driver contract's tests: as the qemu hypervisor's (vms.py), with two
computers, which are network namespaces with a Ray node each (tests/cluster). The host is in this process, some of whose
threads are on the first computer. Masters are on either, and clones on as many computers as there can be.
"""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from .hosts import CPUS, ROOT
from .vms import Model, Nursery

sys.path.insert(0, str(ROOT / "tests" / "cluster"))


class ClusterNursery(Nursery):
    @staticmethod
    def what_is_missing() -> str:
        from computers import what_is_missing

        return what_is_missing()

    def _start(self) -> Any:
        from computers import PORT, Cluster
        from vms import Vms

        from gridcentric.hypervisors.ray.host import connected

        with contextlib.ExitStack() as undo:
            self._cluster = undo.enter_context(contextlib.closing(Cluster()))
            first = self._cluster.computers[0]
            os.environ["RAY_TMPDIR"] = str(first.folder)
            undo.callback(os.environ.pop, "RAY_TMPDIR")
            with first.entered():
                make = undo.enter_context(connected(f"{first.ip}:{PORT}", "SPREAD"))
                vms = Vms(CPUS, control=True, make=make)
            undo.callback(vms.close)
            self._undo = undo.pop_all()
        return vms

    def close(self) -> None:
        self._undo.close()

    async def copy_of(self, model: Model, key: int, family: str, address: str) -> Any:
        """As clones on another computer are made: from one object in Ray's store, which all copies share."""
        from gridcentric.hypervisors.ray.cluster import _shaped
        from gridcentric.hypervisors.ray.member import RemoteChannel, RemoteDomain

        machines = self.vms.host.machines
        shape = machines._shapes[model.domain.family]
        if model.start is None:
            model.start = await self._freeze(model)
        origin, start = model.start
        members = sorted(machines.members(), key=lambda member: member.name)
        member = members[key % len(members)]
        name = f"copy {uuid.uuid4()}"
        machines._shapes[family] = shape
        domain = machines._domains[key] = RemoteDomain(key, 0, family, address, member, RemoteChannel(member, key))
        await member.call("receive", name, replace(origin, vmid=-1, family=family, call=None), _shaped(shape), start)
        await member.call("hold", name, [(key, 0, address)])
        if model.stream:  # asked and not told: "go" comes another way, and might overtake it
            await member.control.ask("inherit", key, model.stream)
        await member.call("go", name)
        await member.call("drop", name)
        return domain

    async def _freeze(self, model: Model) -> tuple[Any, Any]:
        member, name = model.domain.member, f"model {uuid.uuid4()}"
        origin, _ = await member.call("freeze", name, model.domain.key, "-")
        [start] = await member.call("share", name)
        await member.call("drop", name)
        return origin, start

    async def kill(self, domain: Any) -> None:
        """By its computer, whose process it is."""
        self.vms.host.machines.end(domain.key)

    def descriptors(self) -> list[str]:
        """Memory that the machines' actors have open."""
        found = []
        for computer in self._cluster.computers:
            for actor in computer.processes("ray::Actor"):
                for entry in Path(f"/proc/{actor}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        found.append(os.readlink(entry))  # noqa: PTH115
        return sorted(one for one in found if "memfd:gridcentric" in one)
