"""gc-launcher, by which the qemu hypervisor starts its programs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gridcentric.hypervisors.qemu.started_programs import launched


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_program_takes_its_place() -> None:
    done = run(launched(["sh", "-c", 'echo "$0 $1"; exit 5', "a b", "c"]))
    assert (done.returncode, done.stdout, done.stderr) == (5, "a b c\n", "")


@pytest.mark.parametrize("huge_pages", [True, False])
def test_huge_pages(huge_pages: bool) -> None:
    status = run(launched(["cat", "/proc/self/status"], huge_pages=huge_pages)).stdout
    assert f"THP_enabled:\t{int(huge_pages)}" in status


def test_it_ends_with_the_thread_that_started_it() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        started.append(subprocess.Popen(launched(["sh", "-c", "echo here; exec sleep 1000"]), stdout=subprocess.PIPE))
        assert started[0].stdout and started[0].stdout.readline() == b"here\n"

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert started[0].wait(60) == -9
    assert started[0].stdout
    started[0].stdout.close()


def test_it_does_not_outlive_a_process_that_has_ended_already() -> None:
    command = launched(["true"])
    command[1] = str(os.getppid())  # another than its parent
    assert run(command).returncode == 1


def test_what_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError, match="there is no gc-nothing on PATH"):
        launched(["gc-nothing"])
    done = run([*launched(["true"])[:2], "/nothing/here"])
    assert done.returncode == 127
    assert done.stderr == "gc-launcher: /nothing/here cannot be started: No such file or directory\n"
    for arguments in ([], ["1"], ["1", "--no-huge-pages"]):
        done = run([launched(["true"])[0], *arguments])
        assert done.returncode == 2
        assert done.stderr.startswith("usage: gc-launcher PARENT")


def test_what_is_preloaded_for_the_program_reaches_it(tmp_path: Path) -> None:
    environment = os.environ | {"LD_PRELOAD": "/nowhere.so"}
    done = subprocess.run(
        launched([sys.executable, "-c", "print(1)"]), check=False, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "1\n"
    assert done.stderr.count("/nowhere.so") == 1  # by the program's loader alone
