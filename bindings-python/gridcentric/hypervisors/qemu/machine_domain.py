"""A machine as a domain, and who hears what machines say. Knows nothing of how machines are made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gridcentric.hypervisors.qemu.channel import Channel
from gridcentric.hypervisors.qemu.machine import Machine


@dataclass
class MachineDomain:
    """A machine under control."""

    key: int
    vmid: int
    family: str
    machine: Machine
    channel: Channel
    ip: str
    tap: str
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True)
class MachineEvents:
    """The receiver of what the machines say."""

    output: Callable[[int, int, bytes, bool], Awaitable[None]]  # key, stream, bytes, to standard error
    exited: Callable[[int, int, int], None]  # key, stream, exit code
    ended: Callable[[int, int], None]  # key, QEMU's return code
