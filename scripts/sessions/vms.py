"""Sessions that boot VMs: the tests of the hypervisors qemu and ray."""

from __future__ import annotations

import nox

from sessions.building import PYTHON, SIDE_BY_SIDE, needs, pytest, run

# Suites that other sessions run without VMs; here, the parts of the hypervisors qemu and ray.
SUITES_WITH_VMS = ("tests/conformance/test_conformance.py", "tests/hypervisors/test_contract.py")
RAY = "ray==2.60.0"  # the version that is tested; pyproject.toml has those that are allowed
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


ON_CLUSTER = ("-k", "ray", "--timeout=1200")


@nox.session
def cluster(session: nox.Session) -> None:
    """VMs across computers, which are network namespaces with a Ray node each: the tests of a cluster, the driver contract and
    a few cases of the conformance suite. As root; installs Ray (300 MB). Ten minutes; GC_KILLS=20 kills a computer as often."""
    needs_ray(session)
    pytest(session, "tests/cluster", "--timeout=900")
    pytest(session, *SUITES_WITH_VMS, "-m", "not full", *ON_CLUSTER)


@nox.session(name="cluster-full")
def cluster_full(session: nox.Session) -> None:
    """Every case of these suites on a cluster, in every language. An hour."""
    needs_ray(session)
    pytest(session, *SUITES_WITH_VMS, *ON_CLUSTER, *SIDE_BY_SIDE)


def needs_ray(session: nox.Session) -> None:
    needs(session, "dev", "python", "node")
    run(session, PYTHON, "-m", "pip", "install", "--quiet", RAY)
