"""Plays one program of the zoo in one mode: its exit code, what it wrote, what it left running.

A program says in a comment what it needs beyond the packages of CI:

    zoo: full            only `nox -s zoo` plays it: large packages, or slow
    server: NAME ...     a server that the session has started (scripts/sessions/zoo_servers.py)
    node: 24             this Node or a newer one
    module: NAME         a module that not every Node has, or that is compiled for one alone
    arguments: --WORD    for its interpreter
    stderr: EXPRESSION   what lines of standard error may be; else nothing is written there

It knows nothing of what the programs do.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ZOO = Path(__file__).parent
ROOT = ZOO.parents[1]
# Where the session has installed the packages (scripts/sessions/zoo.py).
PACKAGES = ROOT / "build" / "zoo"
# A guard against hangs, generous: it never decides between right and wrong.
HANG_GUARD_S = 240
# The last words of a program's master: once, and of nobody else.
LAST_WORDS = re.compile(r"(\d+ clones reported|refused)\n")


@dataclass(frozen=True)
class Program:
    path: Path

    @property
    def name(self) -> str:
        """python/sqlite, node/express: as docs/if-you-use.md calls it."""
        return f"{self.path.relative_to(ZOO).parts[0]}/{self.path.stem}"

    @cached_property
    def needs(self) -> dict[str, str]:
        return dict(re.findall(r"^(?:#|//) (zoo|server|node|module|arguments|stderr): (.+)$", self.path.read_text(), re.M))

    @property
    def full(self) -> bool:
        """Not for CI."""
        return "zoo" in self.needs or "server" in self.needs

    def command(self) -> list[str]:
        interpreter = [sys.executable, "-X", "faulthandler"] if self.path.suffix == ".py" else ["node"]
        return [*interpreter, *self.needs.get("arguments", "").split(), str(self.path)]


def programs() -> list[Program]:
    found = [*ZOO.glob("python/programs/*.py"), *ZOO.glob("node/programs/*.*s")]
    return [Program(path) for path in sorted(found)]


def why_not(program: Program) -> str:
    """What is missing here for this program, or ""."""
    for server in program.needs.get("server", "").split():
        if f"GC_ZOO_{server.upper()}" not in os.environ:
            return os.environ.get(f"GC_ZOO_MISSING_{server.upper()}", f"nox -s zoo starts {server}")
    least, module = program.needs.get("node", "0"), program.needs.get("module")
    if int(node("parseInt(process.versions.node)").stdout or "0") < int(least):
        return f"needs Node {least}"
    if module and (tried := node(f"require('{module}') && 0")).returncode:
        return next((line for line in tried.stderr.splitlines() if "Error" in line), f"no {module}")
    return ""


def node(expression: str) -> subprocess.CompletedProcess[str]:
    env = environment("plain", "", Path())
    return subprocess.run(["node", "-p", expression], capture_output=True, text=True, env=env, check=False)


def environment(mode: str, tag: str, folder: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
    python = [ZOO / "python", PACKAGES / "python", PACKAGES / "python-full"]
    node = [folder / "node_modules" for folder in (PACKAGES / "node", PACKAGES / "node-full", ROOT)]
    return env | {
        "GRIDCENTRIC_CLONE_MODE": mode,
        "GC_ZOO_TAG": tag,
        "XDG_RUNTIME_DIR": str(folder),
        "PYTHONPATH": ":".join(map(str, python)),
        "PATH": f"{PACKAGES / 'python' / 'bin'}:{env['PATH']}",
        "NODE_PATH": ":".join(map(str, node)),
        # Four processes share few processors here, and OpenBLAS' and OpenMP's threads spin while they wait.
        "OPENBLAS_NUM_THREADS": "2",
        "OMP_NUM_THREADS": "2",
    }


def tagged(tag: str) -> list[int]:
    """The processes that have this tag in their environment: the program, its clones and all that they have started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"GC_ZOO_TAG={tag}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def end(tag: str, signal_number: int) -> None:
    for pid in tagged(tag):
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            continue


def play(program: Program, mode: str, folder: Path) -> None:
    """Raises AssertionError when anything is not as it must be."""
    tag = uuid.uuid4().hex
    out, err = folder / "stdout", folder / "stderr"
    work = folder / "work"
    work.mkdir()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        master = subprocess.Popen(
            program.command(), cwd=work, env=environment(mode, tag, folder),
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
        )  # fmt: skip
        try:
            code: object = master.wait(HANG_GUARD_S)
        except subprocess.TimeoutExpired:
            end(tag, signal.SIGABRT)  # Python's faulthandler then says where each thread stands
            time.sleep(1)
            code = f"none: {len(tagged(tag))} processes hang"
        until = time.monotonic() + HANG_GUARD_S
        while code == 0 and tagged(tag) and time.monotonic() < until:
            time.sleep(0.02)
        left = [f"{pid} {command_line(pid)}" for pid in tagged(tag)]
        end(tag, signal.SIGKILL)
        master.wait()
    said, complaints = out.read_text(errors="replace"), err.read_text(errors="replace")
    assert code == 0, f"exit code {code}\n{said}\n{complaints}"
    assert LAST_WORDS.fullmatch(said), f"instead of its last words alone it wrote\n{said}\n{complaints}"
    allowed = program.needs.get("stderr", "")
    unexpected = [line for line in complaints.splitlines() if not (allowed and re.fullmatch(allowed, line))]
    assert not unexpected, complaints
    assert not left, f"left running: {left}"


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
