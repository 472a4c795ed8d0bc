"""Guest RAM that is copied: files alone, no VM."""

from __future__ import annotations

import os

from gridcentric.hypervisors.qemu import ram

MIB = 1 << 20


def test_a_copy_has_what_was_written_until_it_is_made_and_no_more() -> None:
    """Pages come and change after the copy has been made ready; holes stay holes, which take no memory."""
    source, target = ram.create(16 * MIB), ram.create(16 * MIB)
    try:
        os.pwrite(source, b"first" * 2000, MIB)
        with ram.ready_to_copy(source, target, 16 * MIB) as copy:
            os.pwrite(source, b"again" * 2000, MIB)
            os.pwrite(source, b"later" * 2000, 9 * MIB)
            copy()
            os.pwrite(source, b"after", MIB)
        assert os.pread(target, 10000, MIB) == b"again" * 2000
        assert os.pread(target, 10000, 9 * MIB) == b"later" * 2000
        assert ram.extents(target, 16 * MIB) == ram.extents(source, 16 * MIB)
        assert ram.used(target) == ram.used(source) < MIB
    finally:
        os.close(source)
        os.close(target)
