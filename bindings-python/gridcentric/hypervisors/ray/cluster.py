"""The VMs of one host on all computers of a cluster: where each is, and the sequence of a cloning across computers. Has the
face of the qemu hypervisor's Machines, for its driver, host and programs. Knows nothing of the contract's calls (driver.py).

    freeze   on the parent's computer: the master's pause is in this, and over before anything is sent
    hold     there, at once; and on each other computer as soon as it has the start, which comes once through Ray's store
    commit   when all clones on all computers stand still: the host takes note
    go       everywhere
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import ray

from gridcentric.hypervisors.qemu.family import FamilyError
from gridcentric.hypervisors.qemu.images import Image
from gridcentric.hypervisors.qemu.machine import Shape
from gridcentric.hypervisors.qemu.machine_domain import MachineEvents
from gridcentric.hypervisors.qemu.network import Network, NetworkError
from gridcentric.hypervisors.qemu.ram import CLONE_NEEDS
from gridcentric.hypervisors.qemu.times import Times
from gridcentric.hypervisors.qemu.user_messages import tell
from gridcentric.hypervisors.ray import relay
from gridcentric.hypervisors.ray.link import LinkError, Listener, dial
from gridcentric.hypervisors.ray.member import Member, MemberError, RemoteChannel, RemoteDomain
from gridcentric.hypervisors.ray.room import Size, share_out
from gridcentric.hypervisors.ray.stored_images import pack_image
from gridcentric.hypervisors.ray.tickets import Tickets

BOOT_LIMIT_S = 60  # for room for a master
Clone = tuple[int, int, str]  # key, vmid, address


class ClusterNetwork(Network):
    """The addresses, and connections to VMs by way of their computers. Nothing of it is in this process."""

    def __init__(self, reach: Callable[[str, str], Awaitable[socket.socket]]) -> None:
        super().__init__()
        self._reach = reach

    async def connect(self, ip: str, port: int) -> socket.socket:
        try:
            return await self._reach(ip, f"connect {ip} {port}")
        except LinkError as error:
            raise NetworkError(str(error)) from error


class ClusterMachines:
    """All methods belong to one asyncio loop."""

    def __init__(self, folder: Path, host: str, key: str, events: MachineEvents, strategy: str) -> None:
        """host: path of the host's socket. key: what makes a connection to it speak for a domain."""
        self.folder = folder
        self.pauses: deque[Times] = deque(maxlen=1000)  # of the last clonings
        self.on_clone: Callable[[int], object] = lambda key: None
        self.on_lost: Callable[[int], object] = lambda key: None  # its computer is gone; its end is told after that
        self.on_room: Callable[[], object] = lambda: None
        self.network = ClusterNetwork(self._reach)
        self.tickets = Tickets(strategy, self._room)
        self._events = events
        self._secret = secrets.token_bytes(32)
        self._listener = Listener(self._secret, lambda purpose, sock: self._answer(purpose, sock, host, key))
        self._where: tuple[str, int]
        self._members: dict[str, asyncio.Task[Member]] = {}
        self._domains: dict[int, RemoteDomain] = {}
        self._standing: set[int] = set()  # clones that have not gone on: the host may not know them yet
        self._shapes: dict[str, Shape] = {}  # of the families
        self._images: dict[str, Any] = {}  # by digest, where another computer needed it
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def _room(self) -> None:
        self.on_room()

    async def _answer(self, purpose: str, sock: socket.socket, host: str, key: str) -> None:
        if purpose == relay.PURPOSE:
            await relay.answer(sock.dup(), host, key)

    # --- computers ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Raises FamilyError when no computer can have VMs; one that can't is named."""
        try:
            self._where = self._listener.start(ray.util.get_node_ip_address())
        except LinkError as error:
            raise MemberError(str(error)) from error
        results = await asyncio.gather(*map(self._member, self.tickets.look()), return_exceptions=True)
        troubles = [str(result) for result in results if isinstance(result, BaseException)]
        if len(troubles) == len(results):
            await self.close()
            raise MemberError("; ".join(troubles) or "the cluster has no computers")
        for trouble in troubles:
            tell(trouble)

    async def _member(self, name: str) -> Member:
        """The computer of this name; it is made ready where it is new. Raises FamilyError."""
        if name not in self._members:
            self._members[name] = asyncio.ensure_future(self._ready(name))
        task = self._members[name]
        try:
            return await asyncio.shield(task)
        except FamilyError:
            if self._members.get(name) is task:  # it may do better next time
                del self._members[name]
            raise

    async def _ready(self, name: str) -> Member:
        node = self.tickets.look().get(name)
        if node is None:
            raise MemberError(f"computer {name} is not in the cluster any more")
        member = Member(node, self._secret, self._where)
        await member.start({"output": self._output, "exited": self._exited, "ended": self._ended})
        if member.slow:
            tell(f"{member.shown}: the VMs' network is a slow one: {member.slow}")
        watch = asyncio.create_task(self._until_lost(member))
        self._tasks.add(watch)
        watch.add_done_callback(self._tasks.discard)
        await self._introduce(member)
        return member

    def members(self) -> list[Member]:
        """Those that are there."""
        done = [task.result() for task in self._members.values() if task.done() and task.exception() is None]
        return [member for member in done if not member.lost.done()]

    async def _introduce(self, new: Member | None = None) -> None:
        """Each computer knows all others."""
        all_ = [*self.members(), *([new] if new else [])]
        known = {member.name: member.where for member in all_}
        calls = [m.call("others", {name: at for name, at in known.items() if name != m.name}) for m in all_]
        await asyncio.gather(*calls, return_exceptions=True)  # one that is lost is told nothing

    async def computers_of(self, ticket: str, family: str) -> None:
        """Make sure that the ticket's computers can have VMs of the family. Raises FamilyError."""
        names = sorted(set(self.tickets.where(ticket)))
        members = await asyncio.gather(*map(self._member, names))
        self._check_kinds(members, [d for d in self.all() if d.family == family])

    @staticmethod
    def _check_kinds(members: Iterable[Member], family: list[RemoteDomain]) -> None:
        for domain in family[:1]:
            for member in members:
                if member.kind != domain.member.kind:
                    raise MemberError(
                        f"{member.shown} has {member.kind}, and {domain.member.shown}, where the VMs are, "
                        f"{domain.member.kind}: "
                        "a VM is cloned only between computers of one kind"
                    )
                if member is not domain.member:
                    for one in (member, domain.member):
                        if not one.private:
                            raise MemberError(
                                f"{one.shown}: Ray may write a VM's memory to its folder, which other users can enter: start "
                                "Ray there with --temp-dir in a folder of mode 700 (docs/cluster.md, Security)"
                            )

    async def _until_lost(self, member: Member) -> None:
        why = await asyncio.shield(member.lost)
        if self._closing:
            return
        tell(f"{member.shown} is lost: {why}")
        self._members.pop(member.name, None)
        for domain in [domain for domain in self.all() if domain.member is member and domain.key not in self._standing]:
            self.on_lost(domain.key)
            self._ended(domain.key, -9)
        await asyncio.gather(self._introduce(), asyncio.to_thread(member.kill))  # Ray may take long to notice

    async def close(self) -> None:
        """Nothing of any VM is left."""
        self._closing = True
        for task in self._members.values():
            if not task.done():
                task.cancel()
        await asyncio.gather(*(member.close() for member in self.members()))
        for watch in self._tasks:
            watch.cancel()
        self.tickets.close()
        await self._listener.close()

    # --- VMs ----------------------------------------------------------------------------------------------------------------

    def get(self, key: int) -> RemoteDomain | None:
        return self._domains.get(key)

    def all(self) -> list[RemoteDomain]:
        return list(self._domains.values())

    def reserve_address(self) -> str:
        return self.network.address()

    def size_of(self, key: int, cpus: int) -> Size:
        """What a clone of this VM takes of a computer. Raises FamilyError."""
        domain = self._domains.get(key)
        if domain is None:
            raise FamilyError("the machine to be cloned is gone")
        return Size(cpus, self._shapes[domain.family].memory + CLONE_NEEDS)

    async def boot(self, key: int, family: str, shape: Shape, ip: str) -> RemoteDomain:
        """On a computer that has room for its memory; CPUs are counted for clones only, as everywhere. Raises FamilyError."""
        if shape.disk:
            raise FamilyError(
                "--disk: a VM with a disk can't go to another computer yet: leave it out, or use --hypervisor qemu"
            )
        place = f"master {key}"
        try:
            where = await asyncio.wait_for(self.tickets.wait(place, Size(0, shape.memory + CLONE_NEEDS)), BOOT_LIMIT_S)
            member = await self._member(where)
            self._shapes[family] = shape
            domain = self._domains[key] = RemoteDomain(key, 0, family, ip, member, RemoteChannel(member, key))
            await self._bring_image(member, shape.image)
            await member.call("boot", key, family, _shaped(shape), ip)
        except BaseException as error:
            self._forget(key)
            self.tickets.release(place)
            if isinstance(error, asyncio.TimeoutError):
                raise FamilyError(f"no computer of the cluster has {shape.memory >> 20} MiB of memory free for a VM") from error
            raise
        return domain

    async def _bring_image(self, member: Member, image: Image) -> None:
        if not await member.call("has_image", image.digest):
            if image.digest not in self._images:
                self._images[image.digest] = await asyncio.to_thread(lambda: ray.put(pack_image(image)))
            await member.call("take_image", self._images[image.digest])

    async def expect(self, key: int, clones: int) -> None:
        """Nothing is prepared: where the clones will be is known when they are asked for."""

    async def clone(self, parent_key: int, ticket: str, clones: list[Clone], commit: Callable[[], Awaitable[None]]) -> None:
        """Make clones, all or none; raises FamilyError. When all stand still on all computers, commit() is awaited."""
        parent = self._domains.get(parent_key)
        if parent is None:
            raise FamilyError("the machine to be cloned is gone")
        where = self.tickets.where(ticket)
        if len(where) < len(clones):
            raise FamilyError(
                f"the cluster has lost a computer of this ticket, and room for {len(where)} of {len(clones)} VMs is left"
            )
        shares = share_out(clones, where, parent.member.name)
        members = {name: await self._member(name) for name in shares}
        self._check_kinds(members.values(), [parent])
        name = secrets.token_hex(8)
        involved = {parent.member.name: parent.member} | members
        try:
            # Not to be cut short: half a cloning would leave VMs that stand still.
            making = asyncio.ensure_future(self._hold_all(name, parent, ticket, shares, members))
            try:
                await asyncio.shield(making)
            except asyncio.CancelledError:
                await asyncio.wait([making])
                making.exception()
                raise
            for computer, share in shares.items():
                for key, vmid, ip in share:
                    member = members[computer]
                    self._standing.add(key)
                    self._domains[key] = RemoteDomain(key, vmid, parent.family, ip, member, RemoteChannel(member, key))
            await commit()
            for key, _, _ in clones:
                self.on_clone(key)
            await asyncio.gather(*(self._go(name, members[computer], share) for computer, share in shares.items()))
        finally:
            # The last has loaded, or nobody will.
            drops = [member.call("drop", name) for member in involved.values()]
            await asyncio.gather(*drops, return_exceptions=True)

    async def _go(self, name: str, member: Member, share: list[Clone]) -> None:
        with contextlib.suppress(FamilyError):  # its computer was lost after the commit: its VMs have ended as any others
            await member.call("go", name)
        for key, _, _ in share:
            self._standing.discard(key)
            if member.lost.done() and key in self._domains:  # lost before these clones went on
                self.on_lost(key)
                self._ended(key, -9)

    async def _hold_all(
        self, name: str, parent: RemoteDomain, ticket: str, shares: dict[str, list[Clone]], members: dict[str, Member]
    ) -> None:
        shape = self._shapes[parent.family]
        origin, stages = await parent.member.call("freeze", name, parent.key, ticket)
        self.pauses.append(Times(**stages))
        self.pauses[-1].trace(parent.vmid, sum(map(len, shares.values())))
        away = [member for member in members.values() if member is not parent.member]

        async def there() -> None:
            [start] = await parent.member.call("share", name)

            async def bring(member: Member) -> None:
                await self._bring_image(member, shape.image)
                await member.call("receive", name, origin, _shaped(shape), start)
                await member.call("hold", name, shares[member.name])

            await _all(bring(member) for member in away)

        work = [there()] if away else []
        if parent.member.name in shares:
            work.append(parent.member.call("hold", name, shares[parent.member.name]))
        await _all(work)

    async def _reach(self, ip: str, purpose: str) -> socket.socket:
        domain = next((domain for domain in self.all() if domain.ip == ip), None)
        if domain is None:
            raise NetworkError(f"there is no machine at {ip}")
        return await dial(domain.member.where, self._secret, purpose)

    def end(self, key: int) -> None:
        domain = self._domains.get(key)
        if domain is not None:
            domain.member.control.tell("end", key)

    async def finish(self, key: int) -> None:
        domain = self._domains.get(key)
        if domain is not None:
            domain.member.control.tell("finish", key)

    # --- what they say --------------------------------------------------------------------------------------------------

    async def _output(self, key: int, stream: int, errors: bool, data: bytes = b"") -> None:
        await self._events.output(key, stream, data, errors)

    def _exited(self, key: int, stream: int, code: int) -> None:
        self._events.exited(key, stream, code)

    def _ended(self, key: int, code: int) -> None:
        if self._forget(key):
            self._events.ended(key, code)

    def _forget(self, key: int) -> bool:
        domain = self._domains.pop(key, None)
        if domain is None:
            return False
        self.network.give_back(domain.ip)
        self.tickets.release(f"master {key}")
        if all(other.family != domain.family for other in self._domains.values()):
            self._shapes.pop(domain.family, None)
        return True


def _shaped(shape: Shape) -> tuple[str, int, int]:
    return shape.image.digest, shape.memory_mib, shape.cpus


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Returns when all have ended; raises what the first that failed has raised."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
