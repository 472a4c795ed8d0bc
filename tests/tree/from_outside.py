"""Programs that are cloned from outside, while they run."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from typing import Any, Callable

import pytest
from runner.hosts import gc_binary

HANG_GUARD_S = 60


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"not tried: {', '.join(missing)} is missing")


def until(action: Callable[[], Any]) -> Any:
    """Repeats it until it succeeds."""
    end = time.monotonic() + HANG_GUARD_S
    while True:
        try:
            return action()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def clone_of(pid: int, clones: int, environment: dict[str, str], user: tuple[str, ...] = ()) -> list[str]:
    """Their addresses. user: what starts a command as another one."""
    said = subprocess.run(
        [*user, gc_binary(), "clone", "--of", str(pid), "-n", str(clones)],
        env=environment, capture_output=True, text=True, check=False, timeout=HANG_GUARD_S,
    )  # fmt: skip
    assert said.returncode == 0, said
    return [line.split()[2] for line in said.stdout.splitlines()]


def end(master: Any, environment: dict[str, str]) -> None:
    """The master ends by itself, with its workers; its clones go on without it, until they are ended."""
    listed = subprocess.run([gc_binary(), "ps", "--json"], env=environment, capture_output=True, text=True, check=False)
    family = next(domain["family"] for domain in json.loads(listed.stdout) if domain["pid"] == master.pid)
    master.terminate()
    assert master.wait(HANG_GUARD_S) == 0
    subprocess.run([gc_binary(), "end", family], env=environment, check=True, capture_output=True)


def get(address: str, port: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=HANG_GUARD_S) as answer:
        return str(answer.read().decode())
