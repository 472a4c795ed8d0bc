"""Open files: each domain has its own offsets, also without a name; a mapped file on a disk stays one file for all."""

import mmap
import tempfile

import numpy
from harness import family

lines, unnamed = open("lines", "a+"), tempfile.TemporaryFile()
unnamed.write(b"0123456789")
unnamed.seek(2)
shared = numpy.memmap("numbers", dtype="int64", mode="w+", shape=(4,))
anonymous = mmap.mmap(-1, 4096)
anonymous[:4] = b"same"


def work(vmid: int) -> list[object]:
    lines.write(f"{vmid}\n")
    lines.flush()
    shared[vmid] = vmid + 10
    seen = anonymous[:4].decode()
    anonymous[:4] = b"%4d" % vmid
    return [unnamed.read(3).decode(), unnamed.tell(), seen, anonymous[:4].decode()]


master, clones = family(work)
assert [master, *clones] == [["234", 5, "same", f"{vmid:4}"] for vmid in range(4)], (master, clones)
assert shared.tolist() == [10, 11, 12, 13]
lines.seek(0)
assert sorted(lines) == ["0\n", "1\n", "2\n", "3\n"]
