"""gc in a domain: the process of the tests is the master of a family of a host with the fake hypervisor, and what it starts
speaks for it, as a script's gc does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))

from runner.hosts import gc_binary
from runner.wire import HANG_GUARD_S, Connection

GC = gc_binary()


def gc(*words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """gc with these words, in no domain unless the environment says so."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")} | environment
    return subprocess.run([GC, *words], input=stdin, env=env, capture_output=True, text=True, check=False, timeout=HANG_GUARD_S)


VERBS: list[str] = re.findall(r"^  gc (\S+)", gc("--help").stdout, re.MULTILINE)


class Shell:
    """gc in the master of a family, or in a clone of it."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self._master = Connection(host.address.partition(":")[2], "attach")
        self.family = self._master.identity[0]

    def gc(self, *words: str, clone: Optional[int] = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        attach = {} if clone is None else {"GRIDCENTRIC_ATTACH": f"{self.family}/{clone}"}
        return gc(*words, stdin=stdin, GRIDCENTRIC_HOST=self.host.address, **attach)

    def text(self, *words: str, clone: Optional[int] = None, stdin: str = "") -> str:
        """What it prints, without the last newline; it must succeed and have nothing to complain about."""
        done = self.gc(*words, clone=clone, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, ""), f"gc {' '.join(words)}: {done}"
        return done.stdout.removesuffix("\n")

    def json(self, *words: str, clone: Optional[int] = None) -> Any:
        return json.loads(self.text(*words, "--json", clone=clone))

    def ticket(self, vms: int) -> str:
        """A ticket of the master's, with which it has cloned itself."""
        ticket = self.text("rt", str(vms), str(vms), "1", "0").removeprefix("ticket ")
        assert self.text("clone", ticket) == "0"
        return ticket

    def close(self) -> None:
        self._master.close()
