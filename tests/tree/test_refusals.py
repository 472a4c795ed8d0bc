"""What can't be cloned as part of a tree is named before anything is lost, and the program goes on."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from runner.hosts import gc_binary

repeated = pytest.mark.parametrize("repeat", range(int(os.environ.get("GC_REPEAT", "1"))))
ATTEMPT = """
ticket=$(gc rt 1 1 1 5000 | awk '{print $2}')
gc clone $ticket
echo "exit code $?"
kill -CONT $child 2> /dev/null
kill -KILL $child
"""


def refused(tree: Any, start: str) -> str:
    """The error of `gc clone`, after which the script has gone on."""
    file = tree.folder / "script"
    file.write_text(start + " & child=$!; sleep 0.2\n" + ATTEMPT)
    said = tree.run("bash", str(file))
    assert said.stdout.splitlines()[-1] == "exit code 24", said
    return str(said.stderr)


def static_program(folder: Path) -> Path:
    source = folder / "static.c"
    source.write_text("#include <unistd.h>\nint main(void) { sleep(300); return 0; }\n")
    subprocess.run(["gcc", "-static", "-o", folder / "static", source], check=True)
    return folder / "static"


@pytest.mark.skipif(not shutil.which("gcc"), reason="not tried: gcc is missing")
def test_a_child_without_the_library(tree: Any) -> None:
    error = refused(tree, str(static_program(tree.folder)))
    assert "(static), a child of the program: it has not loaded libgridcentric-run.so" in error


def test_a_child_that_is_stopped(tree: Any) -> None:
    assert "a child of the program: it is stopped (SIGSTOP)" in refused(tree, "(kill -STOP $BASHPID; sleep 300)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_child_of_another_user(tree: Any) -> None:
    error = refused(tree, "setpriv --reuid=65534 --regid=65534 --clear-groups sleep 300")
    assert "it runs as another user (uid 65534)" in error


@pytest.mark.skipif(os.geteuid() != 0, reason="not tried: unshare --pid needs root here")
def test_a_child_in_a_pid_namespace_of_its_own(tree: Any) -> None:
    assert "it is in a pid namespace of its own" in refused(tree, "exec unshare --pid --fork --kill-child sleep 300")


def test_plain_mode_is_refused_before_the_program_starts(new_tree: Callable[..., Any]) -> None:
    said = new_tree(GRIDCENTRIC_CLONE_MODE="plain").run("echo", "started")
    assert (said.returncode, said.stdout) == (24, "")
    assert "--tree needs user and pid namespaces" in said.stderr


def test_a_program_that_does_not_listen(new_tree: Callable[..., Any]) -> None:
    said = new_tree(GRIDCENTRIC_SERVE="0").run("echo", "started")
    assert (said.returncode, said.stdout) == (2, "")
    assert "--tree needs COMMAND to listen for orders" in said.stderr


TREE = """
(while :; do sleep 0.01; done) &
yes | sed -u 's/y/n/' | (while read line; do sleep 0.001; done) &
sleep 300 | sleep 300 &
wait
"""


@repeated
@pytest.mark.parametrize("victim", range(10))
def test_nothing_is_left_when_any_process_is_killed_at_any_moment(tree: Any, victim: int, repeat: int) -> None:
    """Of master and clones, before, while and after they are made. What the killed master's own children leave behind is what
    they would leave without us: they are killed with it."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    print("seed", seed)
    (tree.folder / "script").write_text(TREE)
    master = tree.start("bash", "script")
    deadline = time.monotonic() + 60
    while len(tree.left()) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    cloning = subprocess.Popen(
        [gc_binary(), "clone", "--of", str(master.pid), "-n", "2"],
        env=tree.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    time.sleep(chance.uniform(0, 0.15))
    below = [pid for pid in tree.left() if pid != cloning.pid]
    if below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(below), signal.SIGKILL)
    cloning.wait(60)
    if master.poll() is None:
        again = subprocess.run(  # the master can be cloned still, or says why it can't
            [gc_binary(), "clone", "--of", str(master.pid)],
            env=tree.environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert again.returncode == 0 or again.stderr.startswith("gc clone: "), again
    os.killpg(master.pid, signal.SIGKILL)  # with its own children
    master.wait()
