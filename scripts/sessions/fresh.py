"""Sessions on a fresh Debian with nothing installed: the README's commands."""

from __future__ import annotations

import shutil
import subprocess

import nox

from sessions.building import needs, pytest

SUITES, USERS = ("bookworm", "trixie", "sid"), ("root", "user")


@nox.session
def machines(session: nox.Session) -> None:
    """Tests the machines that other tests run in, and that nothing is left of them."""
    needs(session, "dev")
    pytest(session, "tests/machines")


@nox.session
def fresh(session: nox.Session) -> None:
    """Runs the README's commands in a fresh Debian: -- SUITE root|user [all] (default: trixie root). all: also make test's
    setup and VMs."""
    suite, user, *more = [*session.posargs, *("trixie", "root")[len(session.posargs) :]]
    if suite not in SUITES or user not in USERS or more not in ([], ["all"]):
        session.error(f"usage: nox -s fresh -- {'|'.join(SUITES)} {'|'.join(USERS)} [all]; given: {' '.join(session.posargs)}")
    needs(session, "dev")
    if not shutil.which("mmdebstrap"):
        subprocess.run(["scripts/bootstrap", "--test"], check=True)
    session.posargs.clear()
    env = {"GC_FRESH": f"{suite} {user}", **({"GC_FRESH_ALL": "1"} if more else {})}
    pytest(session, "tests/fresh", "--timeout=0", "--durations=0", "-x", env=env)
