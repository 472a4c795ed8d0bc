"""The user's folder of images, and what every build in it needs. Knows nothing of what is built."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from gridcentric.hypervisors.qemu.started_programs import tool_path

BUILDING = ".building-"
EPOCH = "1700000000"  # all times of files in an image, so that the same input gives the same bytes
# So is the file systems' UUID. A guest reads them, and never writes.
MKFS = f"mkfs.erofs --quiet -x-1 -T {EPOCH} -U 00000000-0000-4000-8000-000000000000 -z lz4"

Progress = Callable[[str], None]


class ImageError(Exception):
    """An image can't be built or found; the text says what is missing and what to do."""


def store() -> Path:
    """The user's image folder: $XDG_DATA_HOME/gridcentric/images."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "gridcentric" / "images"


def need(*commands: tuple[str, str]) -> None:
    """Raises ImageError unless all are there: (command, Debian's package)."""
    missing = [package for command, package in commands if shutil.which(command, path=tool_path()) is None]
    if missing:
        raise ImageError(f"building an image needs Debian's {' and '.join(missing)}: apt-get install {' '.join(missing)}")


@contextlib.contextmanager
def only_builder(progress: Progress) -> Iterator[None]:
    """One at a time builds or removes what builds use: two that need the same would do the same work."""
    store().mkdir(parents=True, exist_ok=True)
    with (store() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress("waiting for another build of an image to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def discard(folder: Path) -> None:
    """Remove an image or a base. It is none any more at once: what an interrupted removal leaves is what a build leaves."""
    rubbish = folder.with_name(BUILDING + folder.name)
    shutil.rmtree(rubbish, ignore_errors=True)  # of an interrupted one
    folder.rename(rubbish)
    shutil.rmtree(rubbish, ignore_errors=True)


def step_of(line: str) -> str:
    """What mmdebstrap says it is at, in words; "" when the line says nothing of it. Of a hook it shows the script itself."""
    match = re.match(r"I: (.*)", line)
    if match is None:
        return ""
    hook = re.match(r"running (?:special hook|--\w+-hook)\b", match[1])
    return "kernel and packing" if hook else match[1].strip()


def run(
    command: list[str], progress: Progress, what: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
) -> None:
    """Run a tool to its end; progress hears what mmdebstrap is at. Raises ImageError with the tool's last words."""
    progress(what)
    process = subprocess.Popen(
        command, stdin=stdin or subprocess.DEVNULL, stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE if stdout else subprocess.STDOUT, text=True, errors="replace",
        env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH, "PATH": tool_path()},
    )  # fmt: skip
    said = process.stderr if stdout else process.stdout
    assert said is not None
    last: list[str] = []
    try:
        for line in said:
            last = [*last[-14:], line.rstrip()]
            if step := step_of(line):
                progress(f"{what}: {step}")
    except BaseException:  # Ctrl-C: it cleans up after itself
        process.terminate()
        process.wait()
        raise
    if process.wait() != 0:
        raise ImageError(f"{what} failed: {command[0]} ended with {process.returncode}:\n  " + "\n  ".join(last))
