"""What /proc says of processes: which domain one belongs to, and the CPU time that a domain has used."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> Optional[list[str]]:
    """The fields of /proc/PID/stat from the state on; None: there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def domain_of(pid: int, domains: dict[int, int]) -> Optional[int]:
    """The vmid of a process, by the nearest ancestor that is a domain's. domains: vmid by pid."""
    while pid > 0:
        if pid in domains:
            return domains[pid]
        stat = _stat(pid)
        if stat is None:
            return None
        pid = int(stat[1])
    return None


def cpu_ms(domains: dict[int, int]) -> dict[int, float]:
    """What each domain has used since its birth, with its child processes, and those of them that have ended and been waited
    for. By vmid; domains: vmid by pid."""
    children: dict[int, list[int]] = defaultdict(list)
    used: dict[int, float] = {}
    for pid in _processes():
        stat = _stat(pid)
        if stat:
            children[int(stat[1])].append(pid)
            used[pid] = sum(map(int, stat[11:15])) * _TICK_MS
    return {vmid: sum(used.get(one, 0.0) for one in _tree(pid, children, domains)) for pid, vmid in domains.items()}


def _processes() -> Iterable[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _tree(root: int, children: dict[int, list[int]], roots: dict[int, int]) -> Iterable[int]:
    """This process and all below it, but for those of other domains: a clone lies below its master."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += (child for child in children[pid] if child not in roots)
