"""The types that users see match the module: stubtest compares the stub with it, mypy --strict reads the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gridcentric

# Its metaclass is pybind11's own, which cannot be imported by name; the members are still compared.
ALLOWED = "gridcentric._native.Call\n"

USES = """
import asyncio
from typing import Optional
from typing_extensions import assert_type
from gridcentric import TimedOut, aio, explain, guest, on_clone

@guest.on_clone
def handler(vmid: int) -> None: ...

assert_type(guest.request_ticket(1, 1, 1, 0), str)
assert_type(guest.ticket_info("t").cpus, int)
assert_type(guest.wait("t", 5)[0].report, Optional[bytes])
assert_type(guest.list_domains()[0].parent, Optional[int])
assert_type(guest.vmid(), int)
assert_type(TimedOut.code, str)
assert_type(explain().can_clone, bool)
assert_type(asyncio.run(aio.clone("t")), int)
handler("1")  # type: ignore[arg-type]
guest.kill("1")  # type: ignore[arg-type]
on_clone(5)  # type: ignore[type-var]
"""


def run(*command: str, cwd: Path) -> None:
    # mypy finds the installed package as for users: by its py.typed.
    home = str(Path(gridcentric.__file__).parents[1])
    env = {**os.environ, "MYPY_CACHE_DIR": str(cwd / "cache")}
    if "site-packages" not in home:
        env["MYPYPATH"] = home
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stub_agrees_with_the_module(tmp_path: Path) -> None:
    (tmp_path / "allowed").write_text(ALLOWED)
    run("mypy.stubtest", "gridcentric._native", "--allowlist", "allowed", cwd=tmp_path)


def test_a_program_is_checked(tmp_path: Path) -> None:
    (tmp_path / "uses.py").write_text(USES)
    run("mypy", "--strict", "uses.py", cwd=tmp_path)


def test_everything_public_is_typed() -> None:
    assert (Path(gridcentric.__file__).parent / "py.typed").exists()
