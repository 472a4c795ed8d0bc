"""What gc has to say while a program runs in VMs: lines on standard error, which may be anything."""

from __future__ import annotations

import contextlib
import os
import sys


def tell(text: str) -> None:
    """A line for the user. Nothing depends on it: if nobody reads it, the program goes on."""
    with contextlib.suppress(OSError):
        os.write(2, f"gc: {text}\n".encode(errors="backslashreplace"))


def have_standard_streams() -> None:
    """Those that are closed (`2>&-`) lead to /dev/null. Otherwise what is opened next has their numbers, an image's file or
    a machine's monitor, and is what the program in the VM reads and writes."""
    fd = 0
    while fd <= 2:
        fd = os.open("/dev/null", os.O_RDWR)
        os.set_inheritable(fd, fd <= 2)
    os.close(fd)
    # Python has none for what was closed, and print() takes that for standard output.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
