"""What `make` does, as nox sessions. Each works alone: it brings what it needs first (nox -s NAME).

All sessions share .venv and node_modules of the checkout, so that what is tested is what `make build` gives to a
user. `needs()` rebuilds a part only when the files it is made of have changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import nox

ROOT = Path(__file__).parent.resolve()
VENV = ROOT / ".venv"
PYTHON = str(VENV / "bin" / "python")
BUILD = ROOT / "build"
STAMPS = BUILD / "stamps"

# A shell that starts us in the background has SIGINT ignored, and every program below us would inherit that: tests press
# Ctrl-C and mean it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

nox.options.default_venv_backend = "none"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = [
    "lint", "build", "core", "asan", "tsan", "fuzz", "reference", "python", "node", "shell", "conformance",
    "hypervisors", "live_clone", "autoscale", "demos", "readme", "packaging", "qemu",
]  # fmt: skip

# The files each part is made of: a change in one of them makes the part anew.
CORE = ["VERSION", "CMakeLists.txt", "cmake", "core"]
PARTS: dict[str, list[str]] = {
    "dev": ["scripts/requirements-dev.txt"],
    "python": [*CORE, "pyproject.toml", "bindings-python", "dashboard"],
    "node": [*CORE, "package.json", "package-lock.json", "bindings-node", "dashboard"],
}
NOT_SOURCES = {"build", "core.packed", "node_modules", "__pycache__", ".mypy_cache", ".pytest_cache", ".hypothesis"}


def files_of(paths: Iterable[str]) -> Iterable[Path]:
    for name in paths:
        path = ROOT / name
        if path.is_file():
            yield path
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(set(folders) - NOT_SOURCES)
            if Path(folder) == ROOT / "bindings-node":  # the packed copy of the core
                folders[:] = [f for f in folders if f != "core"]
            yield from (Path(folder) / n for n in sorted(names) if not n.endswith((".pyc", ".so", ".node")))


def digest(paths: Iterable[str]) -> str:
    sum_ = hashlib.sha256(str(ROOT).encode())
    for path in files_of(paths):
        sum_.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return sum_.hexdigest()


def ccache() -> list[str]:
    return ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []


def environment() -> dict[str, str]:
    """The environment of everything the sessions run: the checkout's own venv and node_modules first."""
    path = f"{VENV / 'bin'}:{ROOT / 'node_modules' / '.bin'}:{os.environ['PATH']}"
    env = {"PATH": path, "VIRTUAL_ENV": str(VENV), "PYTHONDONTWRITEBYTECODE": "1"}
    if shutil.which("ccache"):
        env |= {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache", "CXX": "ccache g++", "CCACHE_NOHASHDIR": "1"}
        env |= {"CCACHE_BASEDIR": str(ROOT), "CCACHE_SLOPPINESS": "time_macros"}
    return env


def run(session: nox.Session, *command: str, env: dict[str, str] | None = None) -> None:
    session.run(*command, env=environment() | (env or {}), external=True)


def needs(session: nox.Session, *parts: str) -> None:
    """Build the parts that are not there or not up to date."""
    if not Path(PYTHON).exists():
        subprocess.run([str(ROOT / "scripts" / "bootstrap")], check=True)
    STAMPS.mkdir(parents=True, exist_ok=True)
    for part in parts:
        stamp, now = STAMPS / part, digest(PARTS[part])
        if stamp.exists() and stamp.read_text() == now:
            continue
        session.log(f"building: {part}")
        stamp.unlink(missing_ok=True)
        {"dev": make_dev, "python": make_python, "node": make_node}[part](session)
        stamp.write_text(now)


def make_dev(session: nox.Session) -> None:
    run(session, PYTHON, "-m", "pip", "install", "--quiet", "-r", "scripts/requirements-dev.txt")


def make_python(session: nox.Session) -> None:
    # CXX is left to CMake here: the launcher variable brings ccache in.
    env = environment()
    env.pop("CXX", None)
    session.run(PYTHON, "-m", "pip", "install", "--quiet", ".[autoscale]", env=env, external=True)


def make_node(session: nox.Session) -> None:
    env = {} if not Path("/usr/include/node/node_api.h").exists() else {"npm_config_nodedir": "/usr"}
    run(session, "npm", "install", "--no-audit", "--no-fund", "--foreground-scripts", "--loglevel=error", env=env)


def pytest(session: nox.Session, *args: str, env: dict[str, str] | None = None) -> None:
    # The guard against hangs is generous: it never decides between right and wrong, only ends what would not end.
    run(session, PYTHON, "-m", "pytest", "-q", "--timeout=300", *args, *session.posargs, env=env)


# For tests that wait more than they work, each with hosts, folders and ports of its own.
SIDE_BY_SIDE = ("-n", "2")


def make_core_tests(session: nox.Session, name: str, options: Iterable[str] = (), targets: Iterable[str] = ()) -> str:
    """The core with its tests and testees, or these targets of it, in build/NAME."""
    folder = str(BUILD / name)
    run(session, "cmake", "-G", "Ninja", "-S", ".", "-B", folder, "-DGC_TESTS=ON", *ccache(), *options, env={"CXX": "g++"})
    run(session, "cmake", "--build", folder, *(["--target", *targets] if targets else []))
    return folder


@nox.session
def build(session: nox.Session) -> None:
    """What `make build` promises: .venv with gridcentric and gc, node_modules/gridcentric."""
    needs(session, "python", "node")
    run(session, str(VENV / "bin" / "gc"), "--version")


@nox.session
def core(session: nox.Session) -> None:
    """The core's unit tests."""
    folder = make_core_tests(session, "core")
    run(session, "ctest", "--test-dir", folder, "--output-on-failure", "--timeout", "300", *session.posargs)


def sanitized(session: nox.Session, name: str, sanitizers: str, env: dict[str, str]) -> None:
    """The tests of rules, wire, host and client. Not those that really clone: a sanitizer's runtime does not go along.

    A little optimization: without any, byte order becomes a call into the C library, which the check of the parked code's
    symbols rightly refuses; with all of it, the build takes twice as long.
    """
    options = ["-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1 -g1", f"-DGC_SANITIZE={sanitizers}"]
    folder = make_core_tests(session, name, options, ["core_tests", "guest_tests", "gc"])
    run(session, "ctest", "--test-dir", folder, "--output-on-failure", "--timeout", "300", "-R", "^(core|guest)$", env=env)


@nox.session
def asan(session: nox.Session) -> None:
    """The core's unit tests under AddressSanitizer and UndefinedBehaviorSanitizer."""
    sanitized(session, "asan", "address,undefined", {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})


@nox.session
def tsan(session: nox.Session) -> None:
    """The core's unit tests under ThreadSanitizer."""
    sanitized(session, "tsan", "thread", {"TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """The wire decoder under libFuzzer for 30 seconds, starting from the kept corpus (-- SECONDS for longer)."""
    folder, seconds = BUILD / "fuzz", session.posargs[0] if session.posargs else "30"
    run(session, "cmake", "-G", "Ninja", "-S", ".", "-B", str(folder), "-DGC_FUZZ=ON", "-DCMAKE_CXX_COMPILER=clang++-14")
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
    """What Python makes different."""
    needs(session, "dev", "python")
    pytest(session, "tests/python", "--ignore=tests/python/test_packaging.py")


def supported_pythons() -> Iterable[str]:
    """Each Python that pyproject.toml declares and that is here, on PATH or with pyenv, but for that of .venv."""
    declared = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    for version in declared:
        pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        for python in [shutil.which(f"python{version}"), *map(str, pyenv)]:
            about = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
            asked = subprocess.run([python or "false", "-c", about], capture_output=True, text=True, check=False)
            if asked.returncode == 0 and not (VENV / "lib" / f"python{asked.stdout.strip()}").exists():
                yield str(python)
                break


@nox.session
def pythons(session: nox.Session) -> None:
    """The package built, installed and tested with every other supported Python that is here: minutes each."""
    for python in supported_pythons():
        folder = BUILD / "pythons" / Path(python).resolve().name
        session.log(f"{python} in {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        run(session, python, "-m", "venv", str(folder))
        env = environment() | {"VIRTUAL_ENV": str(folder)}
        env.pop("CXX", None)  # as in make_python()
        own = str(folder / "bin" / "python")
        session.run(own, "-m", "pip", "install", "--quiet", ".[autoscale]", "pytest", "pytest-timeout", env=env, external=True)
        others = ["packaging", "types", "live_clone_libraries"]  # need what only the .venv has
        ignored = [f"--ignore=tests/python/test_{name}.py" for name in others]
        session.run(own, "-m", "pytest", "-q", "--timeout=300", "tests/python", *ignored, env=env, external=True)


@nox.session
def node(session: nox.Session) -> None:
    """What Node makes different."""
    needs(session, "dev", "python", "node")
    tests = sorted(str(p) for p in (ROOT / "tests" / "node").glob("*.test.js") if p.name != "packaging.test.js")
    run(session, "node", "--test", "--test-timeout=300000", *tests, *session.posargs)


@nox.session
def shell(session: nox.Session) -> None:
    """What shells make different: help, exit codes, JSON, completion."""
    needs(session, "dev", "python")
    pytest(session, "tests/shell")


@nox.session
def conformance(session: nox.Session) -> None:
    """Shared behaviour: host x language x case."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/conformance", "-m", "not vms", *SIDE_BY_SIDE)


@nox.session
def hypervisors(session: nox.Session) -> None:
    """The driver contract, for every driver."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/hypervisors", "-m", "not vms")


@nox.session
def live_clone(session: nox.Session) -> None:
    """The live clone: one testee a kind of resource, in both modes."""
    needs(session, "dev", "python", "node")
    folder = make_core_tests(session, "core")
    pytest(session, "tests/live_clone", env={"GC_BUILD": folder})


@nox.session
def autoscale(session: nox.Session) -> None:
    """The scaling cases, for both languages on the fake hypervisor."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/autoscale", *SIDE_BY_SIDE)


@nox.session
def demos(session: nox.Session) -> None:
    """The demos for real, in headless Chromium too."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/demos", *SIDE_BY_SIDE)


@nox.session
def readme(session: nox.Session) -> None:
    """Every example of the README runs."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/readme")


@nox.session
def packaging(session: nox.Session) -> None:
    """pip install from the sdist and npm install from the tarball, outside the checkout."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/python/test_packaging.py")
    run(session, "node", "--test", "--test-timeout=600000", "tests/node/packaging.test.js")


# Suites that other sessions play elsewhere, and the qemu hypervisor's part of them.
SUITES_WITH_VMS = ("tests/conformance/test_conformance.py", "tests/hypervisors/test_contract.py")
WITH_VMS = ("-k", "qemu", "--timeout=1200")


@nox.session
def qemu(session: nox.Session) -> None:
    """Real VMs and their clones, in minutes. An image is built on first use; where there is no QEMU the tests are skipped and
    say why."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/qemu", *SUITES_WITH_VMS, "-m", "not full", *WITH_VMS, *SIDE_BY_SIDE)


@nox.session(name="qemu-full")
def qemu_full(session: nox.Session) -> None:
    """All that is tested with real VMs: every case of the suites in every language. Twenty minutes."""
    needs(session, "dev", "python", "node")
    pytest(session, "tests/qemu", *SUITES_WITH_VMS, *WITH_VMS, *SIDE_BY_SIDE)


@nox.session
def bench(session: nox.Session) -> None:
    """The figures of the design (-- ROW ... for some of them; -- --list names them)."""
    needs(session, "dev", "python", "node")
    run(session, PYTHON, "-m", "bench", *session.posargs, env={"PYTHONPATH": str(ROOT)})


PYTHON_SOURCES = ["noxfile.py", "bindings-python", "tests", "demos", "bench"]
CPP_FOLDERS = ["core", "bindings-python/src", "bindings-node/src", "tests/core", "tests/live_clone"]


def cpp_sources() -> list[str]:
    endings = {".c", ".cpp", ".h", ".hpp"}
    return sorted(str(p.relative_to(ROOT)) for p in files_of(CPP_FOLDERS) if p.suffix in endings)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy --strict, clang-format, eslint, tsc."""
    needs(session, "dev", "python", "node")
    run(session, PYTHON, "-m", "ruff", "check", *PYTHON_SOURCES)
    run(session, PYTHON, "-m", "ruff", "format", "--check", *PYTHON_SOURCES)
    run(session, PYTHON, "-m", "mypy", "--strict", "-p", "gridcentric")
    run(session, "clang-format-14", "--dry-run", "--Werror", *cpp_sources())
    run(session, "npm", "run", "--silent", "lint")


@nox.session
def tidy(session: nox.Session) -> None:
    """clang-tidy over the core: minutes, so `make lint` runs it and `make test` does not."""
    folder = str(BUILD / "tidy")
    run(session, "cmake", "-G", "Ninja", "-S", ".", "-B", folder, "-DCMAKE_CXX_COMPILER=clang++-14")
    sources = [s for s in cpp_sources() if s.startswith("core/") and s.endswith(".cpp")]
    run(session, "run-clang-tidy-14", "-quiet", "-p", folder, *sources)


@nox.session
def format(session: nox.Session) -> None:
    """Let the formatters rewrite the sources."""
    needs(session, "dev")
    run(session, PYTHON, "-m", "ruff", "check", "--fix", *PYTHON_SOURCES)
    run(session, PYTHON, "-m", "ruff", "format", *PYTHON_SOURCES)
    run(session, "clang-format-14", "-i", *cpp_sources())
