"""Sessions that boot VMs: the qemu hypervisor's tests."""

from __future__ import annotations

import nox

from sessions.building import SIDE_BY_SIDE, needs, pytest

# Suites that other sessions run without VMs; here, the qemu hypervisor's part of them.
SUITES_WITH_VMS = ("tests/conformance/test_conformance.py", "tests/hypervisors/test_contract.py")
WITH_VMS = ("-k", "qemu", "--timeout=1200")


@nox.session
def qemu(session: nox.Session) -> None:
    """Real VMs and their clones, in minutes. An image is built on first use; without QEMU the tests are skipped and say
    why."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/qemu", *SUITES_WITH_VMS, "-m", "not full", *WITH_VMS, *SIDE_BY_SIDE)


@nox.session(name="qemu-full")
def qemu_full(session: nox.Session) -> None:
    """Everything that is tested with real VMs: every case of the suites in every language. Twenty minutes."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/qemu", *SUITES_WITH_VMS, *WITH_VMS, *SIDE_BY_SIDE)
