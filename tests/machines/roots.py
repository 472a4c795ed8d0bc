"""Makes the file tree of a Debian system and keeps it, so that the next test has it at once.

A tree is never changed after it was made (machine.py lays an overlay over it), and many tests may read it at a time.
They are kept in $XDG_CACHE_HOME/gridcentric/test-roots, for a month: all checkouts share them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .configuration import apt_options, apt_sources, certificates

_KEPT_S = 30 * 24 * 3600


class MachineError(Exception):
    """A system could not be made or run; the text says which tool said what."""


def store() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gridcentric" / "test-roots"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def root(suite: str, *packages: str) -> Path:
    """The tree of a Debian release, minbase and these packages; made when it isn't there yet (a minute or two)."""
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        raise MachineError("Debian systems are made by root with mmdebstrap: apt-get install mmdebstrap")
    key = hashlib.sha256(" ".join(sorted(set(packages))).encode()).hexdigest()[:12]
    folder = store() / f"{suite}-{key}"
    store().mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if folder.exists() and time.time() - folder.stat().st_mtime > _KEPT_S:
            shutil.rmtree(folder)
        if not folder.exists():
            _make(folder, suite, packages)
    return folder


def _make(folder: Path, suite: str, packages: tuple[str, ...]) -> None:
    tree = folder.with_suffix(".making")
    shutil.rmtree(tree, ignore_errors=True)  # of one that was killed
    with tempfile.TemporaryDirectory() as scratch:
        options = Path(scratch) / "apt.conf"
        options.write_text(apt_options())
        command = ["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", f"--aptopt={options}"]
        command += ["--dpkgopt=force-unsafe-io", *([f"--include={','.join(packages)}"] if packages else [])]
        done = subprocess.run(
            [*command, suite, str(tree), *apt_sources(suite)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise MachineError(f"mmdebstrap could not make a {suite} with {packages}:\n{done.stdout[-3000:]}")
        _introduce(tree)
        tree.touch()
        tree.rename(folder)


def _introduce(tree: Path) -> None:
    """What this computer's own network needs: names and added certificates."""
    for name in ("resolv.conf", "hosts"):
        (tree / "etc" / name).unlink(missing_ok=True)
        shutil.copy(Path("/etc") / name, tree / "etc" / name)
    added = tree / "usr" / "local" / "share" / "ca-certificates"
    added.mkdir(parents=True, exist_ok=True)
    for certificate in certificates():
        shutil.copy(certificate, added)
    if (tree / "usr" / "sbin" / "update-ca-certificates").exists():
        subprocess.run(["chroot", str(tree), "update-ca-certificates"], capture_output=True, check=True)
