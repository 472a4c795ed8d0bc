"""Sessions with computers that have nothing: a fresh Debian, and what the README says to type there."""

from __future__ import annotations

import shutil
import subprocess

import nox

from sessions.building import needs, pytest

SUITES, USERS = ("bookworm", "trixie", "sid"), ("root", "user")


@nox.session
def machines(session: nox.Session) -> None:
    """The machines that other tests are run in are as they should be, and nothing is left of them."""
    needs(session, "dev")
    pytest(session, "tests/machines")


@nox.session
def fresh(session: nox.Session) -> None:
    """A fresh Debian and the README's commands in it: -- SUITE root|user [all] (trixie root). all: make test's set-up and VMs
    too."""
    suite, user, *more = [*session.posargs, *("trixie", "root")[len(session.posargs) :]]
    if suite not in SUITES or user not in USERS or more not in ([], ["all"]):
        session.error(f"nox -s fresh -- {'|'.join(SUITES)} {'|'.join(USERS)} [all]; given: {' '.join(session.posargs)}")
    needs(session, "dev")
    if not shutil.which("mmdebstrap"):
        subprocess.run(["scripts/bootstrap", "--test"], check=True)
    session.posargs.clear()
    env = {"GC_FRESH": f"{suite} {user}", **({"GC_FRESH_ALL": "1"} if more else {})}
    pytest(session, "tests/fresh", "--timeout=0", "--durations=0", "-x", env=env)
