"""Runs a probe as a family of a hypervisor, with `gc run`, and collects its reports. Does not know what is right (rows.py)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridcentric import _node_package, _paths
from gridcentric.selftest.rows import Said

_HERE = Path(__file__).parent


class Unheard(Exception):
    """The family did not report; the message says why."""


def _command(probe: str, machines: bool, clones: int, loads: Sequence[str]) -> list[str]:
    """The arguments of `gc run`: its options, then the command."""
    if probe == "python":
        file, interpreter, last = "probe.py", sys.executable, "machine" if machines else "program"
    else:
        package = _node_package.find()
        found = shutil.which("node")
        if not machines and (found is None or package is None):
            missing = "no node on PATH" if found is None else "no Node package gridcentric beside this one"
            raise Unheard(f"there is {missing}; --without-node omits the rows of Node")
        file, interpreter, last = "probe.js", str(found), str(package)
    if not machines:
        return ["--", interpreter, str(_HERE / file), str(clones), last, *loads]
    runtime, last = ("python3", last) if probe == "python" else ("node", "gridcentric")
    return ["--copy", f"{_HERE / file}:/root/{file}", "--", runtime, f"/root/{file}", str(clones), last, *loads]


def run(probe: str, hypervisor: str, machines: bool, clones: int, loads: Sequence[str] = ()) -> Said:
    """machines: whole machines are cloned. loads: modules or packages that the probe loads first. Raises Unheard. When this
    returns the family has ended."""
    command = [str(_paths.GC), "run", "--hypervisor", hypervisor, *_command(probe, machines, clones, loads)]
    said = Said()
    whole = False
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            for line in process.stdout:
                heard = time.time_ns()
                what = _read(line)
                if "now" in what:
                    said.asked = time.time_ns()
                    process.stdin.write(b"now\n")
                    process.stdin.flush()
                elif "ns" in what:
                    said.clocks[what["vmid"]] = (what["ns"], heard)
                elif "domains" in what:
                    said.before, said.domains, said.repeats, whole = what["before"], what["domains"], what["repeats"], True
        except BaseException:
            process.terminate()  # gc ends the family
            raise
    if process.returncode != 0 or not whole or len(said.domains) != clones + 1:
        raise Unheard(f"the {probe} probe exited with {process.returncode} after {len(said.domains)} domains had reported")
    return said


def _read(line: bytes) -> dict[str, Any]:
    try:
        what = json.loads(line)
    except ValueError:
        what = None
    if not isinstance(what, dict):
        raise Unheard(f"the probe printed {line[:80]!r}, expected a JSON object")
    return what
