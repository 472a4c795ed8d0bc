"""What holds for every program that this hypervisor starts. Knows none of them."""

from __future__ import annotations

import os
import shutil

from gridcentric import _paths

BINARY = "qemu-system-x86_64"


def launched(command: list[str], *, huge_pages: bool = True) -> list[str]:
    """The command by way of gc-launcher: it ends when the thread that started it does. Raises FileNotFoundError."""
    program = shutil.which(command[0], path=tool_path())
    if program is None:
        raise FileNotFoundError(f"there is no {command[0]} on PATH")
    options = [] if huge_pages else ["--no-huge-pages"]
    return [str(_paths.GC.with_name("gc-launcher")), str(os.getpid()), *options, program, *command[1:]]


def tool_path() -> str:
    """PATH, and the folders that Debian leaves out of the PATH of users, who may run depmod and mke2fs all the same."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
