"""One computer of the cluster as the host sees it: its actor, its link, its VMs. Knows no tickets and no families."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gridcentric.hypervisors.qemu.channel import ChannelError
from gridcentric.hypervisors.qemu.family import FamilyError
from gridcentric.hypervisors.ray.computer import Actor
from gridcentric.hypervisors.ray.control import Control, ControlError
from gridcentric.hypervisors.ray.link import dial

START_LIMIT_S = 60
AT_ONCE = 1000  # calls to one actor; Ray's own limit


class MemberError(FamilyError):
    """A computer is not there, or can't have VMs; the text says which and why."""


class Member:
    """All methods belong to one asyncio loop."""

    def __init__(self, node: dict[str, Any], secret: bytes, host: tuple[str, int]) -> None:
        """node: Ray's description of the computer."""
        self.name: str = node["NodeID"]
        self.shown = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        self.where: tuple[str, int] = ("", 0)
        self.kind = ""
        self.slow = ""
        self.private = False
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()  # why; done when it is gone
        self.control: Control
        self._secret = secret
        strategy = NodeAffinitySchedulingStrategy(self.name, soft=False)
        options = {"num_cpus": 0, "max_concurrency": AT_ONCE, "max_restarts": 0, "scheduling_strategy": strategy}
        self._actor: Any = ray.remote(Actor).options(**options).remote(self.name, secret, host)
        self._task: asyncio.Task[None] | None = None

    async def start(self, handlers: dict[str, Callable[..., Any]]) -> None:
        """handlers: of what its VMs say. Raises MemberError."""
        try:
            about = await asyncio.wait_for(self._call("start"), START_LIMIT_S)
            self.where, self.kind = tuple(about["where"]), about["kind"]
            self.slow, self.private = about["slow"], about["private"]
            self.control = Control(await dial(self.where, self._secret, "control"), handlers)
        except (FamilyError, OSError, asyncio.TimeoutError) as error:
            self.kill()
            raise MemberError(f"{self.shown} can have no VMs: {error or f'no answer for {START_LIMIT_S} s'}") from error
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        why = await self.control.run()
        if not self.lost.done():
            self.lost.set_result(why)

    async def close(self) -> None:
        """Nothing of its VMs is left, as far as it can be reached."""
        with contextlib.suppress(FamilyError, asyncio.TimeoutError):
            await asyncio.wait_for(self.call("close"), 10)
        if self._task is not None:
            self._task.cancel()
        await asyncio.to_thread(self.kill)

    def kill(self) -> None:
        with contextlib.suppress(RayError):
            ray.kill(self._actor)

    async def call(self, method: str, *arguments: Any) -> Any:
        """What the actor's method returns. Raises FamilyError, also as soon as the computer is lost: Ray may notice later."""
        call = asyncio.ensure_future(self._call(method, *arguments))
        await asyncio.wait({call, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            call.cancel()
            raise MemberError(f"{self.shown} is lost: {self.lost.result()}")
        return call.result()

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return await self._actor.call.remote(method, *arguments)
        except RayTaskError as error:
            raise FamilyError(str(error.cause or error)) from error
        except RayActorError as error:
            raise MemberError(f"{self.shown} is lost: {str(error).splitlines()[0]}") from error
        except RayError as error:
            raise FamilyError(f"{self.shown}: {error}") from error


@dataclass
class RemoteChannel:
    """A VM's agent, as a program's owner uses it (the qemu hypervisor's Channel)."""

    member: Member
    key: int

    def run(self, stream: int, folder: str, command: list[str], apart: bool = False) -> None:
        self.member.control.tell("run", self.key, stream, folder, command, apart)

    def write(self, stream: int, data: bytes) -> None:
        self.member.control.tell("write", self.key, stream, data=data)

    def inherit(self, stream: int) -> None:
        self.member.control.tell("inherit", self.key, stream)

    async def room(self, stream: int) -> None:
        with contextlib.suppress(ControlError):  # it has ended, and takes all
            await self.member.control.ask("room", self.key, stream)

    async def ask(self, verb: str, *arguments: object) -> None:
        try:
            await self.member.control.ask("agent", self.key, verb, [str(one) for one in arguments])
        except ControlError as error:
            raise ChannelError(str(error)) from error


@dataclass
class RemoteDomain:
    """A VM, wherever it runs."""

    key: int
    vmid: int
    family: str
    ip: str
    member: Member
    channel: RemoteChannel
