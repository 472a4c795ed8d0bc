"""Boots a kernel in QEMU with our tests as its only file system, and reads from the serial console how they ended.

Emulated (TCG), so that it works where there is no KVM; no disk, no network, no agent. Nothing is left of a VM, whatever ends
the process that runs it: the kernel ends QEMU with it, and the first file system and the console are files without a name.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import parts
from .archive import Archive
from .kernels import STORE

MEMORY_MB = 3072
HANG_S = 4 * 3600  # a guard: an emulated computer that is shared is slow


@dataclass
class Ran:
    statuses: list[int]  # of the commands that ended
    console: str


def _pack(to: BinaryIO, commands: list[list[str]], environment: dict[str, str]) -> None:
    shell = Path("/bin/sh")
    files = [*parts.all_files(), shell.resolve(), Path("/usr/bin/env")]
    archive = Archive(to)
    for name in ("lib", "lib64", "bin", "sbin"):
        archive.link(f"/{name}", f"usr/{name}")
    archive.folder("/tmp", 0o1777)
    for name in ("/proc", "/sys", "/dev", "/root"):
        archive.folder(name)
    archive.device("/dev/console", 5, 1)
    archive.device("/dev/null", 1, 3)
    archive.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    archive.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
    archive.text("/etc/hosts", "127.0.0.1 localhost\n")
    archive.text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
    archive.link("/usr/bin/sh", shell.resolve().name)
    archive.text("/init", f"#!{sys.executable} -IS\n" + (Path(__file__).parent / "init.py").read_text(), 0o755)
    plan = {"commands": commands, "environment": environment, "folder": str(parts.CHECKOUT)}
    archive.text("/commands.json", json.dumps(plan))
    for path in files:
        archive.file(_inside(path), path)
    for path in parts.libraries_of(files):
        archive.file(_inside(path), path.resolve())
    archive.close()
    to.flush()


def _inside(path: Path) -> str:
    """Folders of the root that are links to /usr here are so there too."""
    return re.sub(r"^/(lib|lib64|bin|sbin)/", r"/usr/\1/", str(path))


def ends_with_us() -> list[str]:
    """Before a command: the kernel kills it when this process ends, also when that was before the kernel was asked to."""
    alive = 'test "$PPID" = "$1" || exit; shift; exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", alive, "sh", str(os.getpid())]


def run(kernel: Path, commands: Iterable[list[str]], environment: dict[str, str]) -> Ran:
    """Run commands in a VM with this kernel, one after the other, in the checkout's folder. With them go the files of parts."""
    commands = list(commands)
    with tempfile.TemporaryFile(dir=STORE) as first_files, tempfile.TemporaryFile(dir=STORE) as said:
        _pack(first_files, commands, environment)
        qemu = [
            *ends_with_us(),
            "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MB),
            "-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", str(kernel),
            "-initrd", f"/proc/self/fd/{first_files.fileno()}", "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
        ]  # fmt: skip
        vm = subprocess.Popen(
            qemu, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, pass_fds=[first_files.fileno()]
        )
        try:
            vm.wait(HANG_S)
        except subprocess.TimeoutExpired:
            pass  # the commands that did not end are missing in what is returned
        finally:
            vm.kill()
            vm.wait()
        said.seek(0)
        console = said.read().decode(errors="replace").replace("\r", "")
    ended = re.findall(r"^GC-ENDED (\d+) (-?\d+)$", console, re.MULTILINE)
    return Ran([int(status) for _, status in ended], console)
