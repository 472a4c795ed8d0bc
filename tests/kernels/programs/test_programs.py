"""A Python and a Node program clone themselves here, whatever kernel and C library this is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
HANG_S = 900


def output_of(mode: str, *command: str) -> str:
    env = {**os.environ, "GRIDCENTRIC_CLONE_MODE": mode}
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=HANG_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_python(mode):
    said = output_of(mode, sys.executable, str(HERE / "threads.py"))
    assert "clone 1 works" in said and "clone 2 works" in said and "master works" in said, said


@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node here")
@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_node(mode):
    said = output_of(mode, "node", str(HERE / "server.js"))
    assert "vmid 1 works" in said and "vmid 2 works" in said and "master works" in said, said
