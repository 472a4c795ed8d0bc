"""What a killed process leaves of the qemu hypervisor, and its removal by the next one.

QEMUs and the network's helper die with their host (PR_SET_PDEATHSIG), RAM and templates are memfds and namespaces have no
names: all that can be left is in folders. Each is locked by its owner as long as that lives (flock(2)); a folder that is
nobody's can go. A file `elsewhere` in it names sockets that its owner made in other places.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ELSEWHERE = "elsewhere"


def _of_hosts() -> tuple[list[Path], str]:
    """Where hosts have their folders (the first that there is), and how those begin."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    parents = [Path(p) for p in ([runtime] if runtime.startswith("/") else []) + ["/tmp"] if Path(p).is_dir()]
    return parents, f"gridcentric-qemu-{os.geteuid()}-"


def host_folder() -> contextlib.AbstractContextManager[Path]:
    """own_folder() of a host."""
    return own_folder(*_of_hosts())


def remove_hosts() -> list[str]:
    """remove() what dead hosts have left."""
    return remove(*_of_hosts())


def _lock(folder: Path) -> int:
    """The folder's lock as a descriptor; -1: somebody lives in it, or it is gone."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.fstat(fd).st_uid == os.geteuid() and os.path.samestat(os.fstat(fd), folder.stat())
    except OSError:
        there = False
    if not there:
        os.close(fd)
        return -1
    return fd


@contextlib.contextmanager
def own_folder(parents: Sequence[Path], prefix: str) -> Iterator[Path]:
    """A folder of this process, which only its user can enter; gone afterwards. Raises OSError when none can be made."""
    for attempt in range(8):
        for number, parent in enumerate(parents):
            try:
                folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
                break
            except OSError:
                if number == len(parents) - 1:
                    raise
        fd = _lock(folder)
        if fd >= 0:
            break
        if attempt == 7:  # between making and locking it, remove() can take it for a dead one's
            raise OSError(f"{folder} was removed as it was made")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def is_alive(path: str) -> bool:
    """Does somebody listen on this socket? One of another user's counts as alive."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def remove_socket(path: str) -> bool:
    """Remove it, if it is there and a socket: what else has this name by now is another's."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(Path(path).lstat().st_mode):
            Path(path).unlink()
            return True
    return False


def remove(parents: Sequence[Path], prefix: str) -> list[str]:
    """Remove the folders of this prefix whose owners are dead, and their sockets elsewhere; the paths of all that."""
    removed = []
    for parent in parents:
        for folder in sorted(parent.glob(f"{prefix}*")):
            fd = _lock(folder)
            if fd < 0:
                continue
            try:
                with contextlib.suppress(OSError):
                    for path in (folder / ELSEWHERE).read_text().splitlines():
                        if not is_alive(path) and remove_socket(path):
                            removed.append(path)
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(str(folder))
            finally:
                os.close(fd)
    return removed
