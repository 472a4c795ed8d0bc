"""Sessions on other kernels and C libraries than this computer's."""

from __future__ import annotations

import nox

from sessions.building import PYTHON, make_core_tests, needs, run

GUARD = "--timeout=3600"  # a VM is emulated: minutes of a busy computer


@nox.session
def denied(session: nox.Session) -> None:
    """System calls that a kernel lacks or a filter refuses, one after the other, in both modes."""
    needs(session, "dev", "python")
    folder = make_core_tests(session, "core")
    run(session, PYTHON, "-m", "pytest", "-q", GUARD, "tests/kernels/test_denied.py", env={"GC_BUILD": folder})


@nox.session
def kernels(session: nox.Session) -> None:
    """The testees, a Python and a Node program on Linux 5.10, 6.1 and 6.12, in VMs (-- 5.10 for one). Many minutes."""
    needs(session, "dev", "python", "node")
    folder = make_core_tests(session, "core")
    env = {"GC_BUILD": folder} | ({"GC_KERNELS": " ".join(session.posargs)} if session.posargs else {})
    run(session, PYTHON, "-m", "pytest", "-q", GUARD, "tests/kernels/test_kernels.py", env=env)


@nox.session
def glibcs(session: nox.Session) -> None:
    """The same with the C library of Debian sid (-- bookworm trixie sid for others), in both modes."""
    needs(session, "dev", "python", "node")
    folder = make_core_tests(session, "core")
    env = {"GC_BUILD": folder} | ({"GC_SUITES": " ".join(session.posargs)} if session.posargs else {})
    run(session, PYTHON, "-m", "pytest", "-q", GUARD, "tests/kernels/test_glibcs.py", env=env)
