"""Which domain a process belongs to, for a thread that has only its pid."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from typing import Optional

from gridcentric import Error
from gridcentric.scale import processes
from gridcentric.scale.family import MASTER, OrderedFamily

ANSWER_S = 2.0
# So long what was found out of a child process of a domain is taken for true.
REMEMBERED_S = 1.0
MOST_REMEMBERED = 1000


class Owners:
    def __init__(self, family: OrderedFamily) -> None:
        self._family, self._loop = family, asyncio.get_running_loop()
        self._children: dict[int, tuple[float, int]] = {}

    def domain_of(self, pid: int) -> Optional[int]:
        """Its vmid; None: it has ended too early to be known."""
        if not self._family.attached or pid in self._family.pids:
            return self._family.pids.get(pid, MASTER)
        when, vmid = self._children.get(pid, (0.0, MASTER))
        if time.monotonic() - when < REMEMBERED_S:
            return vmid
        # A clone that is not known yet is below its master, too: so the host is asked before the ancestors are looked at.
        looking = asyncio.run_coroutine_threadsafe(self._family.look(), self._loop)
        try:
            looking.result(ANSWER_S)
        except (Error, concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            looking.cancel()
            return None
        found = processes.domain_of(pid, self._family.pids)
        if found is not None and pid not in self._family.pids:
            if len(self._children) >= MOST_REMEMBERED:
                self._children.clear()
            self._children[pid] = (time.monotonic(), found)
        return found
