"""One computer of the cluster: the actor that runs the VMs which the host has placed there. Ray starts it, tells when it is
gone and carries what clones start from; what the host says to it about single VMs, and what they say, comes and goes over a
link.

It ends, and all its VMs with it, when the host's link does: nothing of a host outlives it anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import subprocess
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from gridcentric.hypervisors.qemu import images, leftovers
from gridcentric.hypervisors.qemu.loading import Loading
from gridcentric.hypervisors.qemu.machine import Shape, accelerator
from gridcentric.hypervisors.qemu.machine_domain import MachineEvents
from gridcentric.hypervisors.qemu.started_programs import BINARY
from gridcentric.hypervisors.ray import packing, relay, stored_images
from gridcentric.hypervisors.ray.control import Control
from gridcentric.hypervisors.ray.link import Listener, dial
from gridcentric.hypervisors.ray.part import Origin, Part
from gridcentric.hypervisors.ray.tickets import alive
from gridcentric.hypervisors.ray.trunk import Trunk

Shaped = tuple[str, int, int]  # an image's digest, MiB of memory, virtual CPUs


def kind() -> str:
    """What computers must have in common to have VMs of one family: a VM's state fits no other QEMU or CPU."""
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=False).stdout.partition("\n")[0]
    words = [version, accelerator().name, platform.machine()]
    if accelerator().name == "kvm":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                words.append(line.partition(":")[2].strip())
                break
    return ", ".join(words)


class Computer:
    """All methods belong to one asyncio loop."""

    def __init__(self, name: str, secret: bytes, host: tuple[str, int]) -> None:
        """name: of this computer among those of the host. host: where the host listens."""
        os.environ["GRIDCENTRIC_MACHINE_CLONE"] = Loading.name  # a copied QEMU can't go to another computer
        self._name = name
        self._secret = secret
        self._host = host
        self._undo = contextlib.AsyncExitStack()
        self._part: Part
        self._trunk: Trunk
        self._control: Control | None = None
        self._images: dict[str, images.Image] = {}

    async def start(self) -> dict[str, Any]:
        """Where it listens and what it is. Raises what there is no VM without."""
        try:
            return await self._start()
        except BaseException:
            await self._undo.aclose()
            raise

    async def _start(self) -> dict[str, Any]:
        leftovers.remove_hosts()
        described = kind()
        folder = self._undo.enter_context(leftovers.host_folder())
        door = relay.Door(f"{folder}/host.sock", os.geteuid(), lambda: dial(self._host, self._secret, relay.PURPOSE))
        await door.open()
        self._undo.push_async_callback(door.close)
        events = MachineEvents(self._output, self._exited, self._ended)
        self._part = Part(folder, f"{folder}/host.sock", "", events)  # the key is the host's to add
        await self._part.start()
        self._undo.push_async_callback(self._part.close)
        self._trunk = Trunk(self._name, await self._part.network.station("trunk"), self._secret)
        self._undo.callback(self._trunk.close)
        listener = Listener(self._secret, self._serve)
        where = listener.start(ray.util.get_node_ip_address())
        self._undo.push_async_callback(listener.close)
        # Ray's folder, where it writes objects to as well: the store's socket is in FOLDER/sockets.
        folder_of_ray = Path(alive()[self._name]["ObjectStoreSocketName"]).parents[1]
        keeps_out = packing.kept_private_by(folder_of_ray)
        return {"where": where, "kind": described, "slow": self._part.network.substitute, "private": bool(keeps_out)}

    async def others(self, others: dict[str, tuple[str, int]]) -> None:
        self._trunk.set_others(others)

    async def reaches(self) -> list[str]:
        """The computers that this one's VMs reach."""
        return self._trunk.reaches()

    async def close(self) -> None:
        """Nothing of any VM is left."""
        await self._undo.aclose()

    # --- connections from the host and other computers ------------------------------------------------------------------

    async def _serve(self, purpose: str, connection: socket.socket) -> None:
        verb, *words = purpose.split(" ")
        if verb == "trunk":
            await self._trunk.carry(words[0], connection.dup())
        elif verb == "connect":  # to a VM of this computer
            await relay.join(connection.dup(), await self._part.network.connect(words[0], int(words[1])))
        elif verb == "control" and self._control is None:
            await self._obey(connection.dup())

    async def _obey(self, connection: socket.socket) -> None:
        handlers = {
            name: getattr(self, f"_do_{name}") for name in ("run", "write", "room", "agent", "inherit", "end", "finish")
        }
        self._control = Control(connection, handlers)
        try:
            await self._control.run()
        finally:
            # Without its host this process has nothing to do; Ray ends it as well, where it notices.
            asyncio.get_running_loop().create_task(self._leave())

    async def _leave(self) -> None:
        await self.close()
        os._exit(0)

    # --- what the host says -----------------------------------------------------------------------------------------------

    def _channel(self, key: int) -> Any:
        domain = self._part.get(key)
        return None if domain is None else domain.channel

    def _do_run(self, key: int, stream: int, folder: str, command: list[str], apart: bool) -> None:
        if channel := self._channel(key):
            channel.run(stream, folder, command, apart)

    def _do_write(self, key: int, stream: int, data: bytes = b"") -> None:
        if channel := self._channel(key):
            channel.write(stream, data)

    async def _do_room(self, key: int, stream: int) -> None:
        if channel := self._channel(key):
            await channel.room(stream)

    async def _do_agent(self, key: int, verb: str, arguments: list[Any]) -> None:
        if channel := self._channel(key):
            await channel.ask(verb, *arguments)

    def _do_inherit(self, key: int, stream: int) -> None:
        if channel := self._channel(key):
            channel.inherit(stream)

    def _do_end(self, key: int) -> None:
        self._part.end(key)

    async def _do_finish(self, key: int) -> None:
        await self._part.finish(key)

    # --- what the VMs say -------------------------------------------------------------------------------------------------

    async def _output(self, key: int, stream: int, data: bytes, errors: bool) -> None:
        """Returns when the host has passed it on: nothing more is read of the VM before that."""
        if self._control is not None:
            await self._control.ask("output", key, stream, errors, data=data)

    def _exited(self, key: int, stream: int, code: int) -> None:
        if self._control is not None:
            self._control.tell("exited", key, stream, code)

    def _ended(self, key: int, code: int) -> None:
        if self._control is not None:
            self._control.tell("ended", key, code)

    # --- images and VMs, as Ray carries the orders ------------------------------------------------------------------------

    async def has_image(self, digest: str) -> bool:
        return await asyncio.to_thread(images.find, digest) is not None

    async def take_image(self, packed: stored_images.PackedImage) -> None:
        await asyncio.to_thread(stored_images.store_image, packed)

    async def _shape(self, shape: Shaped) -> Shape:
        digest, memory_mib, cpus = shape
        if digest not in self._images:
            found = await asyncio.to_thread(images.find, digest)
            if found is None:
                raise images.ImageError(f"the image {digest} is not on {self._name}")
            images.hold(found)
            self._images[digest] = found
        return Shape(self._images[digest], memory_mib, cpus)

    async def boot(self, key: int, family: str, shape: Shaped, ip: str) -> None:
        await self._part.boot(key, family, await self._shape(shape), ip)

    async def freeze(self, name: str, parent_key: int, ticket: str) -> tuple[Origin, dict[str, float]]:
        origin, times = await self._part.freeze(name, parent_key, ticket)
        return origin, asdict(times)

    async def share(self, name: str) -> list[Any]:
        """What clones start from, as an object; in a list, so that it is not fetched to where it is not needed."""
        memory, size, state = self._part.files(name)
        fds = os.dup(memory), os.dup(state)  # the start may be dropped meanwhile
        try:
            return [await asyncio.to_thread(lambda: ray.put(packing.pack(fds[0], size, fds[1])))]
        finally:
            for fd in fds:
                os.close(fd)

    async def receive(self, name: str, origin: Origin, shape: Shaped, packed: packing.Packed) -> None:
        made = await self._shape(shape)
        self._part.receive(name, origin, made, *await asyncio.to_thread(packing.unpack, packed))

    async def hold(self, name: str, clones: list[tuple[int, int, str]]) -> None:
        await self._part.hold(name, clones)

    async def go(self, name: str) -> None:
        await self._part.go(name)

    async def drop(self, name: str) -> None:
        await self._part.drop(name)


class Actor:
    """A Computer in a loop of asyncio's own, on a separate thread: Ray runs an actor in a loop of uvloop where that is
    installed, which QEMU's monitor client can't use."""

    def __init__(self, *arguments: Any) -> None:
        self._loop = asyncio.SelectorEventLoop()
        threading.Thread(target=self._loop.run_forever, name="gc-computer", daemon=True).start()
        self._computer = Computer(*arguments)

    async def call(self, method: str, *arguments: Any) -> Any:
        work = getattr(self._computer, method)(*arguments)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
