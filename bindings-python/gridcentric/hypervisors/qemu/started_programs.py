"""What holds for every program that this hypervisor starts. Imports nothing of the package: the network's helper uses it."""

from __future__ import annotations

import ctypes
import os
import signal

BINARY = "qemu-system-x86_64"
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """From here on this process ends when the thread that started it does (prctl(2)). System calls alone: may be called
    between fork and exec, also where there are threads."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def tool_path() -> str:
    """PATH, and the folders that Debian leaves out of the PATH of users, who may run depmod and mke2fs all the same."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
