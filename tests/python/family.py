"""Families of real clones: a function of a test file runs as a master with a private host (the process hypervisor)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

from gridcentric import guest

# Nothing waits this long unless it hangs; it never decides between right and wrong.
HANG_GUARD_S = 200

RUN = """
import importlib.util, json, os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
spec = importlib.util.spec_from_file_location("guest_program", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["guest_program"] = module
spec.loader.exec_module(module)
print(json.dumps(getattr(module, sys.argv[2])(*json.loads(sys.argv[3]))))
"""


def run_master(mode: str, folder: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result in a separate process, a master that is cloned in this mode."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
    environment.update(GRIDCENTRIC_CLONE_MODE=mode, XDG_RUNTIME_DIR=str(folder), PYTHONFAULTHANDLER="1")
    done = subprocess.run(
        [sys.executable, "-c", RUN, function.__code__.co_filename, function.__name__, json.dumps(arguments)],
        env=environment, capture_output=True, text=True, timeout=HANG_GUARD_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert not done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def clone_all(count: int) -> tuple[int, str]:
    """In a master's function: the vmid and ticket of a new clone()."""
    ticket = guest.request_ticket(count, count, 1, 0)
    return guest.clone(ticket), ticket


def reports(ticket: str) -> list[Any]:
    """Wait for the ticket's clones and return their reports."""
    results = guest.wait(ticket)
    assert all(result.how == "joined" for result in results), results
    return [json.loads(result.report or b"null") for result in results]
