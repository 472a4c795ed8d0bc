"""The qemu hypervisor on the driver contract. The host calls on its thread; the machines live in an asyncio loop on
another: this file is the way from one to the other and keeps the few facts that the host asks for at once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

from gridcentric.hypervisors import Cloning, Listener
from gridcentric.hypervisors.qemu.family import FamilyError, Machines, method_here
from gridcentric.hypervisors.qemu.machine import accelerator
from gridcentric.hypervisors.qemu.network import NetworkError

# What `gc host --info` says of the methods.
HOW = {"copy": "are copies of their master's QEMU", "load": "load their master's state onto a template of its RAM"}


class QemuDriver:
    """machines: made in `loop`, which must be running in another thread than the host's."""

    name = "qemu"

    def __init__(self, loop: asyncio.AbstractEventLoop, machines: Machines) -> None:
        self._loop = loop
        self._machines = machines
        self._listener: Listener
        self._lock = threading.Lock()
        self._addresses: dict[int, str] = {}
        self._how: dict[int, tuple[str, int]] = {}  # how a domain is about to end, when that is known
        self._clonings: dict[int, Future[None]] = {}

    # --- for host.py -------------------------------------------------------------------------------------------------

    async def new_family(self, address: str, name: str, on_exit: str) -> tuple[int, str]:
        """A machine that will have this address is to be the master of a new family: its key and the family. Raises
        RuntimeError when the host has ended."""
        born: asyncio.Future[tuple[int, str]] = self._loop.create_future()

        def tell(key: int, family: str) -> None:
            if born.cancelled():  # nobody will boot it
                self.machine_ended(key, -signal.SIGKILL)
            else:
                born.set_result((key, family))

        def done(key: int, family: str) -> None:
            with self._lock:
                self._addresses[key] = address
            self._loop.call_soon_threadsafe(tell, key, family)

        self._listener.new_family(name, on_exit, done)
        return await born

    async def bye(self, key: int) -> None:
        """A master will end normally. The host knows when this returns."""
        known = asyncio.Event()

        def done() -> None:
            self._loop.call_soon_threadsafe(known.set)

        self._listener.bye(key, done)
        await known.wait()

    def machine_ended(self, key: int, code: int) -> None:
        """QEMU has ended: with 0 when the machine powered itself off."""
        how = self._how.pop(key, ("exited", code) if code >= 0 else ("killed", -code))
        with self._lock:
            self._addresses.pop(key, None)
        self._listener.ended(key, *how)

    def machine_exits(self, key: int, code: int) -> None:
        """The machine's program has ended and the machine will follow: the exit code is the program's."""
        self._how.setdefault(key, ("killed", code - 128) if code > 128 else ("exited", code))

    # --- the contract --------------------------------------------------------------------------------------------------

    def attach(self, listener: Listener) -> None:
        self._listener = listener

    def capabilities(self) -> dict[str, object]:
        accel = accelerator()
        why = f"{accel.why}; clones {HOW[method_here()]}"
        return {"clone": True, "clone_of_clone": True, "whole_machine": True, "mode": accel.name, "why": why}

    def adopt(self, domain: int, pid: int, uid: int) -> str:
        raise RuntimeError("this host clones machines: start a program in one with gc run --hypervisor qemu")

    def clone(self, cloning: Cloning) -> None:
        self._clonings[cloning.parent] = self._submit(self._clone(cloning))

    async def _clone(self, cloning: Cloning) -> None:
        parent, clones = cloning.parent, cloning.clones
        known = asyncio.Event()

        async def commit() -> None:
            """The clones are held, all of them: the host takes note before any says a word."""
            self._clonings.pop(parent, None)

            def then() -> None:
                self._loop.call_soon_threadsafe(known.set)

            cloning.made(then)
            await known.wait()

        try:
            wanted = []
            for key, vmid in clones:
                address = self._machines.reserve_address()
                wanted.append((key, vmid, address))
                with self._lock:
                    self._addresses[key] = address
            await self._machines.clone(parent, cloning.ticket, wanted, commit)
        except (FamilyError, NetworkError, asyncio.CancelledError) as error:
            self._clonings.pop(parent, None)
            with self._lock:
                for key, _ in clones:
                    self._machines.network.give_back(self._addresses.pop(key, ""))
            cloning.failed(str(error) or "the domain that asked for it is gone")

    def cancel_clone(self, parent: int) -> None:
        future = self._clonings.get(parent)
        if future is not None:
            future.cancel()

    def expect(self, domain: int, clones: int) -> None:
        # By the same way as clone(), which may come just before and takes what is there.
        self._submit(self._machines.expect(domain, clones))

    def end(self, domain: int) -> None:
        self._how.setdefault(domain, ("killed", int(signal.SIGKILL)))
        self._loop.call_soon_threadsafe(self._machines.end, domain)

    def joined(self, domain: int) -> None:
        self._how[domain] = ("joined", 0)
        self._submit(self._machines.finish(domain))

    def address_of(self, domain: int) -> str:
        with self._lock:
            return self._addresses.get(domain, "")

    def pid_of(self, domain: int) -> int:
        machine = self._machines.get(domain)
        return -1 if machine is None else machine.machine.process.pid

    def domain_of(self, pid: int) -> int:
        """A VM is its QEMU here, so that gc clone --of can mean it; no other process of this machine is in one."""
        return next((machine.key for machine in self._machines.all() if machine.machine.process.pid == pid), 0)

    def _submit(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)
