"""Runs commands on a system: this computer, a Debian system in its own folder, or a VM with another kernel.

A place is entered, gets files, and runs commands. It knows nothing of the programs or of their expected output.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sessions.building import PYTHON, ROOT

from .cells import Place
from .runtimes import STAGE, Missing, run

sys.path.insert(0, str(ROOT / "tests"))

HANG_GUARD_S = 600  # decides nothing, only ends what hangs
DEBIAN_PACKAGES = ("gcc", "libatomic1", "libc6-dev", "libstdc++6", "python3")
# Root's capabilities in a container, by the usual engines' default.
CONTAINER_CAPABILITIES = (
    "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod"
    ",+audit_write,+setfcap"
)
# In Python, which every place has: a limit above the hard one needs root with all its capabilities, as in a VM.
LIMIT = """
import os, resource, sys
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
except (OSError, ValueError) as error:
    sys.exit(f"cannot limit open files to {sys.argv[1]} here: {error}")
os.execvp(sys.argv[2], sys.argv[2:])
"""
NO_NAMESPACES = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'


Command = tuple[list[str], dict[str, str]]  # words, environment


@dataclass
class Ran:
    status: int
    output: str
    errors: str


class System(Protocol):
    def put(self, source: Path) -> str:
        """Make a file or folder of this computer readable there; returns its path there."""

    def compile(self, source: str, package: str) -> str:
        """Compile a C file there against the package's library there; returns the program's path there."""

    def run_all(self, commands: list[Command]) -> list[Ran]: ...


def compiling(source: str, package: str, to: str) -> list[str]:
    flags = [f"-I{package}/include", f"-L{package}/lib", f"-Wl,-rpath,{package}/lib", "-lgridcentric", "-pthread"]
    return ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", source, "-o", to, *flags]


class NotCompiled(Exception):
    """A correct program does not compile with the package's header or library."""


def must_compile(ran: Ran) -> None:
    if ran.status:
        raise NotCompiled("\n".join(line for line in ran.errors.splitlines() if "error" in line) or ran.errors)


def deny() -> str:
    """The program that refuses system calls as a container does."""
    source, program = ROOT / "tests" / "kernels" / "deny.c", STAGE / "deny"
    if not source.exists():
        raise Missing("tests/kernels/deny.c does not exist")
    STAGE.mkdir(parents=True, exist_ok=True)
    run("cc", "-O1", source, "-o", program)
    return str(program)


def wrapper(behind: str) -> list[str]:
    """The words before a command that restrict it."""
    if behind == "container":
        return ["setpriv", f"--bounding-set={CONTAINER_CAPABILITIES}", deny(), "container", "--"]
    if behind == "sysctl":
        return ["unshare", "--user", "--map-root-user", "sh", "-c", NO_NAMESPACES, "sh"]
    return [PYTHON, "-c", LIMIT, behind] if behind else []


class Here:
    def __init__(self, words: list[str]) -> None:
        self.words = words

    def put(self, source: Path) -> str:
        return str(source)

    def compile(self, source: str, package: str) -> str:
        STAGE.mkdir(parents=True, exist_ok=True)
        to = str(STAGE / "smoke")
        must_compile(self.run(compiling(source, package, to), {}))
        return to

    def run_all(self, commands: list[Command]) -> list[Ran]:
        return [self.run(command, env) for command, env in commands]

    def run(self, command: list[str], env: dict[str, str]) -> Ran:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("GRIDCENTRIC_", "PYTHON", "NODE"))}
        with subprocess.Popen(
            [*self.words, *command], env=clean | env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                output, errors = process.communicate(timeout=HANG_GUARD_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, errors = process.communicate()
                errors += f"\ndid not end within {HANG_GUARD_S} s"
            return Ran(process.returncode, output, errors)


class InDebian:
    def __init__(self, machine: object, words: list[str]) -> None:
        self.machine, self.words = machine, words
        self.there: set[Path] = set()

    def put(self, source: Path) -> str:
        at = f"/opt/{source.name}"
        if source not in self.there:
            self.machine.put(source, at)
            self.there.add(source)
        return at

    def compile(self, source: str, package: str) -> str:
        must_compile(self.run(compiling(source, package, "/tmp/gridcentric-smoke"), {}))
        return "/tmp/gridcentric-smoke"

    def run_all(self, commands: list[Command]) -> list[Ran]:
        return [self.run(command, env) for command, env in commands]

    def run(self, command: list[str], env: dict[str, str]) -> Ran:
        try:
            done = self.machine.run(*self.words, *command, env=env, check=False, timeout=HANG_GUARD_S)
        except subprocess.TimeoutExpired:
            return Ran(1, "", f"did not end within {HANG_GUARD_S} s")
        return Ran(done.returncode, done.stdout, done.stdout)


@contextlib.contextmanager
def enter(place: Place) -> Iterator[System]:
    if place.kernel:
        from .kernels import InVm

        yield InVm(place.kernel, wrapper(place.behind))
    elif place.debian:
        from machines import Machine, MachineError, root

        try:
            tree = root(place.debian, *DEBIAN_PACKAGES)
        except MachineError as error:
            raise Missing(str(error)) from error
        with Machine(tree, user="ada" if place.user else None) as machine:
            yield InDebian(machine, wrapper(place.behind))
    else:
        yield Here(wrapper(place.behind))
