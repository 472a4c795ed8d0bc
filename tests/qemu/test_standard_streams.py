"""gc run whose standard streams are closed, full or read by nobody: its program sees what it may see, and no more."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from typing import Any

import pytest

HANG_GUARD_S = 240

pytestmark = pytest.mark.usefixtures("vms")


def run(gc: Any, redirections: str, script: str) -> tuple[int, str, str]:
    """gc run with what a shell makes of its standard streams; its exit code, output and errors."""
    command = f'"$0" run --hypervisor qemu --memory 192M -- sh -c "$1" {redirections}'
    process = subprocess.Popen(
        ["sh", "-c", f"exec {command}", gc.command, script], env=gc.environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = process.communicate(timeout=HANG_GUARD_S)
    finally:
        process.kill()
    return process.returncode, output, errors


@pytest.mark.parametrize(
    "errors", ["2>&-", *(pytest.param(to, marks=pytest.mark.full) for to in ("2>/dev/full", "2>/dev/null"))]
)
def test_nobody_hears_what_gc_says(gc: Any, errors: str) -> None:
    assert run(gc, errors, "echo out; exit 3") == (3, "out\n", "")


def test_closed_ones_are_none_of_the_hosts_files(gc: Any) -> None:
    code, output, errors = run(gc, "<&- >&-", "cat >&2; echo nobody hears; echo said apart >&2; exit 3")
    assert (code, output) == (3, "")
    said = [line for line in errors.splitlines() if not line.startswith("gc: ")]
    assert said == ["said apart"]


def test_output_that_can_not_be_written(gc: Any) -> None:
    code, _, errors = run(gc, ">/dev/full", "echo out; sleep 100000")
    assert code == 128 + signal.SIGPIPE
    assert errors.splitlines()[-1] == f"gc: standard output: {os.strerror(errno.ENOSPC)}"
