"""The test suites and the bench, on this computer and with the checkout's own Python and Node."""

from __future__ import annotations

import os
import shutil

import nox

from sessions import java as jars
from sessions.building import BUILD, PYTHON, ROOT, SIDE_BY_SIDE, VENV, make_core_tests, needs, node_under_test, pytest, run

SERVERS = (
    "apache2-bin",
    "haproxy",
    "lighttpd",
    "mariadb-server",
    "supervisor",
    "uwsgi-core",
    "uwsgi-plugin-python3",
    "varnish",
)


@nox.session
def build(session: nox.Session) -> None:
    """What `make build` builds: .venv with gridcentric and gc, node_modules/gridcentric; where there is a JDK, the jar."""
    needs(session, "python", "node")
    jars.make_jar(session)
    run(session, str(VENV / "bin" / "gc"), "--version")


@nox.session
def core(session: nox.Session) -> None:
    """The core's unit tests."""
    folder = make_core_tests(session, "core")
    run(session, "ctest", "--test-dir", folder, "--output-on-failure", "--timeout", "300", *session.posargs)


def sanitized(session: nox.Session, name: str, sanitizers: str, optimization: str, env: dict[str, str]) -> None:
    """The tests of rules, wire, host and client. Not those that really clone: a sanitizer's runtime does not survive it.

    With as much optimization as makes building and testing together quickest.
    """
    options = ["-DCMAKE_BUILD_TYPE=None", f"-DCMAKE_CXX_FLAGS={optimization} -g1", f"-DGC_SANITIZE={sanitizers}"]
    folder = make_core_tests(session, name, options, ["core_tests", "guest_tests", "gc"])
    run(session, "ctest", "--test-dir", folder, "--output-on-failure", "--timeout", "300", "-R", "^(core|guest)$", env=env)


@nox.session
def asan(session: nox.Session) -> None:
    """The core's unit tests under AddressSanitizer and UndefinedBehaviorSanitizer."""
    sanitized(session, "asan", "address,undefined", "-O0", {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})


@nox.session
def tsan(session: nox.Session) -> None:
    """The core's unit tests under ThreadSanitizer."""
    sanitized(session, "tsan", "thread", "-O1", {"TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """The wire decoder under libFuzzer for 30 seconds, starting from the stored corpus (-- SECONDS for longer)."""
    folder, seconds = BUILD / "fuzz", session.posargs[0] if session.posargs else "30"
    run(session, "cmake", "-G", "Ninja", "-S", ".", "-B", str(folder), "-DGC_FUZZ=ON", "-DCMAKE_CXX_COMPILER=clang++")
    run(session, "cmake", "--build", str(folder), "--target", "fuzz_wire")
    found = folder / "found"
    found.mkdir(exist_ok=True)
    program = next(p for p in folder.rglob("fuzz_wire") if p.is_file())
    run(session, str(program), f"-max_total_time={seconds}", "-timeout=10", f"-artifact_prefix={folder}/", str(found),
        "tests/core/corpus/wire")  # fmt: skip


@nox.session
def reference(session: nox.Session) -> None:
    """The reference core, and the C++ rules in lockstep with it."""
    needs(session, "dev", "python")
    pytest(session, "tests/reference")


@nox.session
def python(session: nox.Session) -> None:
    """What is specific to Python."""
    needs(session, "dev", "python")
    pytest(session, "tests/python", "--ignore=tests/python/test_packaging.py")


@nox.session
def node(session: nox.Session) -> None:
    """What is specific to Node."""
    needs(session, "dev", "python", "node")
    tests = sorted(str(p) for p in (ROOT / "tests" / "node").glob("*.test.js") if p.name != "packaging.test.js")
    run(session, node_under_test(), "--test", "--test-timeout=300000", *tests, *session.posargs)


@nox.session
def shell(session: nox.Session) -> None:
    """What is specific to shells: help, exit codes, JSON, completion."""
    needs(session, "dev", "python")
    pytest(session, "tests/shell")


@nox.session
def tree(session: nox.Session) -> None:
    """Programs that are cloned with their child processes."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/tree", *SIDE_BY_SIDE)


@nox.session
def tree_long(session: nox.Session) -> None:
    """PostgreSQL with 100 MB and the servers of others, cloned with all processes, and kills at every point of a clone: not
    part of `make test`. As root it installs the servers."""
    needs(session, "dev", "python")
    if os.geteuid() == 0 and shutil.which("apt-get"):
        none_starts = {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
        run(session, "apt-get", "install", "-y", "-q", "--no-install-recommends", *SERVERS, env=none_starts)
    pytest(session, "tests/tree/test_postgresql.py", env={"GC_LONG": "1"})
    pytest(session, "tests/tree/test_servers.py")
    pytest(session, "tests/tree/test_deaths.py", env={"GC_POINTS": "100"})


@nox.session
def private_files(session: nox.Session) -> None:
    """gc run --private-files and gc diff, in both modes, as root and as an ordinary user."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/private_files", *SIDE_BY_SIDE)


@nox.session
def conformance(session: nox.Session) -> None:
    """Shared behaviour: host x language x case, but only some cases for second forms of a language (asyncio, callbacks). Java's
    are in session java."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/conformance", "-m", "not vms and not java and not full", *SIDE_BY_SIDE)


@nox.session(name="conformance-full")
def conformance_full(session: nox.Session) -> None:
    """The same with all cases of all forms on all hosts."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/conformance", "-m", "not vms and not java", *SIDE_BY_SIDE)


@nox.session
def hypervisors(session: nox.Session) -> None:
    """The driver contract, for every driver."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/hypervisors", "tests/cluster", "-m", "not vms")


@nox.session
def live_clone(session: nox.Session) -> None:
    """The live clone: one testee per kind of resource, in both modes."""
    needs(session, "dev", "python", "node")
    folder = make_core_tests(session, "core")
    pytest(session, "tests/live_clone", *SIDE_BY_SIDE, env={"GC_BUILD": folder})


@nox.session
def autoscale(session: nox.Session) -> None:
    """The scaling cases, for both languages on the fake hypervisor; `gc scale` with real programs."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/autoscale", "tests/scale", *SIDE_BY_SIDE)


WITH_BROKER = "tests/demos/test_producer_consumer.py"


@nox.session
def demos(session: nox.Session) -> None:
    """The real demos, also in headless Chromium."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/demos", f"--ignore={WITH_BROKER}", *SIDE_BY_SIDE)


@nox.session
def broker(session: nox.Session) -> None:
    """The demo with RabbitMQ, whose restart alone takes half a minute on a busy computer: not part of `make test`."""
    needs(session, "dev", "python", "node")
    pytest(session, WITH_BROKER)


def soaked(session: nox.Session, minutes: str, clones: str = "0") -> None:
    needs(session, "dev", "python", "node")
    wanted = {"GC_SOAK": minutes, "GC_SOAK_CLONES": clones}
    run(session, PYTHON, "-m", "pytest", "-q", "-s", "--timeout=0", "tests/soak", env=wanted)


@nox.session
def soak(session: nox.Session) -> None:
    """Masters that clone, die and are killed beside the chat, on one host: -- MINUTES (10) and how many CLONES at least."""
    soaked(session, *(session.posargs or ["10"]))


@nox.session(name="soak-ci")
def soak_ci(session: nox.Session) -> None:
    """The same for a few seconds."""
    soaked(session, "0.2")


@nox.session
def readme(session: nox.Session) -> None:
    """Runs every example of the README."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/readme")


@nox.session
def bench(session: nox.Session) -> None:
    """The figures of the design (-- ROW ... for some of them; -- --list lists them)."""
    needs(session, "dev", "python", "node")
    run(session, PYTHON, "-m", "bench", *session.posargs, env={"PYTHONPATH": str(ROOT)})
