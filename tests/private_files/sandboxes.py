"""Starts programs by `gc run --private-files` in a new folder, as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from runner.hosts import gc_binary

CALM = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
HANG_GUARD_S = int(os.environ.get("GC_HANG_SECONDS", "120"))
NOBODY = 65534
REPEAT = range(int(os.environ.get("GC_REPEAT", "1")))
# The tests' own Python may lie in a folder of root's; the system's, of the same version, can use the same package.
SYSTEM_PYTHON = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
USERS = ["root", "nobody"] if os.geteuid() == 0 else ["myself"]


class Sandbox:
    """A real folder, and what runs in it."""

    def __init__(self, folder: Path, user: str) -> None:
        self.folder = folder
        self.before: list[str] = []
        self.env = dict(CALM)
        self.python = sys.executable
        if user == "nobody":
            self.python = SYSTEM_PYTHON
            self.env["PYTHONPATH"] = sysconfig.get_path("platlib")
            self.before = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def has(self, **files: str) -> None:
        for name, content in files.items():
            (self.folder / name).write_text(content)
        if self.before:
            for path in [self.folder, *self.folder.rglob("*")]:
                os.lchown(path, NOBODY, NOBODY)

    def command(self, *words: str, private: str = "--private-files") -> list[str]:
        return [*self.before, gc_binary(), "run", *private.split(), "--", *words]

    def why_not(self) -> str:
        """Why this user cannot be tried."""
        for words in ([gc_binary(), "--version"], [self.python, "-c", "import gridcentric.guest"]):
            if not shutil.which(words[0]):
                return f"there is no {words[0]}"
            tried = subprocess.run([*self.before, *words], env=self.env, capture_output=True, text=True, check=False)
            if tried.returncode:
                return tried.stderr
        return ""

    def start(self, *words: str, mode: str = "", private: str = "--private-files") -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words, private=private),
            env=self.env | ({"GRIDCENTRIC_CLONE_MODE": mode} if mode else {}),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, mode: str = "", private: str = "--private-files") -> subprocess.CompletedProcess[str]:
        process = self.start(*words, mode=mode, private=private)
        try:
            output, errors = process.communicate(timeout=HANG_GUARD_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def gc(self, *words: str, host: str = "") -> subprocess.CompletedProcess[str]:
        """gc from outside, as the same user."""
        env = self.env | ({"GRIDCENTRIC_HOST": host} if host else {})
        return subprocess.run([*self.before, gc_binary(), *words], env=env, capture_output=True, text=True, check=False)

    def contents(self) -> dict[str, str]:
        """What is really in the folder."""
        return {
            str(path.relative_to(self.folder)): path.read_text() if path.is_file() else "folder"
            for path in self.folder.rglob("*")
        }


def sandbox_of(user: str) -> Iterator[Sandbox]:
    folder = Path(tempfile.mkdtemp(prefix="gc-private-"))  # pytest's own folders are for one user alone
    folder.chmod(0o755)
    sandbox = Sandbox(folder, user)
    if why := sandbox.why_not():
        shutil.rmtree(folder)
        pytest.skip(f"not tried: {why}")
    sandbox.has()
    yield sandbox
    shutil.rmtree(folder)
