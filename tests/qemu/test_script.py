"""A real VM, cloned by the shell script that runs in it. Slow (an image is built on first use): nox -s qemu."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = {"qemu-system-x86_64": "qemu-system-x86", "mmdebstrap": "mmdebstrap", "mkfs.erofs": "erofs-utils", "depmod": "kmod"}
MISSING = [package for command, package in NEEDED.items() if shutil.which(command) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"needs Debian's {' '.join(MISSING)}")
def test_a_shell_script_clones_its_machine() -> None:
    script = Path(__file__).parent / "clone_me.sh"
    command = [
        sys.executable,
        "-m",
        "gridcentric.hypervisors.qemu",
        "run",
        "--copy",
        f"{script}:/root/clone_me.sh",
        "--",
        "bash",
        "clone_me.sh",
    ]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.splitlines())
    assert lines == [
        *(f"clone {k} at 10.77.0.{k + 2}: counter 42, host clone{k}" for k in (1, 2, 3)),
        "master: counter 42",
        *(f"result {k} joined 0 =" for k in (1, 2, 3)),
    ]
    left = subprocess.run(
        ["pgrep", "-f", "qemu-system-x86_64.*mem-path=/proc/self/fd"], check=False, capture_output=True, text=True
    )
    assert left.stdout == ""
