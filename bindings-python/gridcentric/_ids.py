"""Libraries that use the pid as a name, or remember it.

In pidns mode a clone has its master's pid, so both would write to files named after it. In plain mode it has a different pid: a
library that remembers the old one takes itself for a child of fork().
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, Optional

from gridcentric import _native

# module -> what happens to it in plain mode
_REMEMBER_THE_PID = {
    "zmq": "pyzmq: libzmq sends nothing once the pid of its context's process has changed; inherited sockets stall",
    "distributed": "dask.distributed: inherited clients and workers stall",
}


def _of_this_domain(original: Callable[[], object]) -> object:
    """The name that prometheus_client gives its files, with the vmid in a clone; a '_' would separate parts of the name."""
    vmid = _native.vmid()
    return f"{original()}-{vmid}" if vmid else original()


def _prometheus_cell() -> Optional[Any]:
    """In prometheus_client's multiprocess mode, the variable that holds the function that identifies the process."""
    values = sys.modules.get("prometheus_client.values")
    check = getattr(getattr(values, "ValueClass", None), "_MmapedValue__check_for_pid_change", None)
    if check is None or "process_identifier" not in check.__code__.co_freevars:
        return None
    return check.__closure__[check.__code__.co_freevars.index("process_identifier")]


def prepare() -> None:
    """In the master: make prometheus_client, which compares names before it counts, use new files in each clone, from zero."""
    cell = _prometheus_cell()
    if cell is None or getattr(cell.cell_contents, "func", None) is _of_this_domain:
        return
    cell.cell_contents = functools.partial(_of_this_domain, cell.cell_contents)


def _notes(plain: bool) -> list[str]:
    notes = []
    if plain:
        notes += [
            f"{text}; make new ones in the clone, or clone in pidns mode"
            for module, text in _REMEMBER_THE_PID.items()
            if module in sys.modules
        ]
    values = sys.modules.get("prometheus_client.values")
    multiprocess = "Mmap" in getattr(getattr(values, "ValueClass", None), "__name__", "")
    if multiprocess and _prometheus_cell() is None and not plain:
        notes.append(
            "this version of prometheus_client, in multiprocess mode, names its files in an unknown way: clones, which have "
            "their master's pid, would write to the master's files"
        )
    return notes


def explained(can_clone: bool, report: str) -> tuple[bool, str]:
    """The core's findings, with those that only Python can see."""
    plain = "(mode plain," in report.partition("\n")[0]
    return can_clone, report + "".join(f"note: {note}\n" for note in _notes(plain))
