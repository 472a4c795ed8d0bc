"""Sessions on kernels and C libraries other than this computer's."""

from __future__ import annotations

import nox

from sessions.building import PYTHON, make_core_tests, needs, run

GUARD = "--timeout=18000"  # VMs are emulated, on a computer that may be busy


def play(session: nox.Session, *tests: str, chosen_by: str = "") -> None:
    """Testees of the core with TESTS of tests/kernels; a variable passes on the selection from the command line."""
    folder = make_core_tests(session, "core")
    chosen = {chosen_by: " ".join(session.posargs)} if chosen_by and session.posargs else {}
    paths = [f"tests/kernels/{name}" for name in tests]
    run(session, PYTHON, "-m", "pytest", "-q", GUARD, *paths, env={"GC_BUILD": folder} | chosen)


@nox.session
def denied(session: nox.Session) -> None:
    """The testees without system calls that a kernel may lack or a filter refuse, one after the other, in both modes."""
    needs(session, "dev", "python")
    play(session, "test_denied.py")


@nox.session
def kernels(session: nox.Session) -> None:
    """The testees, a Python and a Node program on Linux 5.10, 6.1 and 6.12, in VMs (-- 5.10 for one). Many minutes."""
    needs(session, "dev", "python", "node")
    play(session, "test_vm.py", "test_kernels.py", chosen_by="GC_KERNELS")


@nox.session
def glibcs(session: nox.Session) -> None:
    """The same with the C library of Debian sid (-- bookworm trixie sid for others), in both modes."""
    needs(session, "dev", "python", "node")
    play(session, "test_glibcs.py", chosen_by="GC_SUITES")
