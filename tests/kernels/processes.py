"""The processes that are left of a program that was started in its own session."""

from __future__ import annotations

import os
from pathlib import Path


def of_session(session: int) -> dict[str, str]:
    """The processes of a session that live: their names, by pid."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = tail.split()
        if int(fields[3]) == session and fields[0] not in "ZX":
            found[pid] = head.partition("(")[2]
    return found
