"""gc run: what can be told to clone, which of several guest libraries acts, and what is refused by name before it starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from runner.hosts import ROOT, gc_binary, wait_until

CALM = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
STATIC = Path(gc_binary()).resolve().parent / "gc-reaper"
if not STATIC.exists():  # gc is a launcher, which starts the package's own
    STATIC = Path(sys.prefix) / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/gridcentric/bin/gc-reaper"


def gc(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([gc_binary(), *words], env=CALM | env, capture_output=True, text=True, check=False)


@contextmanager
def running(*command: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The program when it has written its first line; its family is ended afterwards."""
    program = subprocess.Popen(
        [gc_binary(), "run", "--", *command], env=CALM | env, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert program.stdout
    try:
        assert program.stdout.readline()
        yield program
    finally:
        gc("end", "--pid", str(program.pid))
        program.kill()
        program.communicate()


def family(pid: int) -> list[dict[str, Any]]:
    rows = json.loads(gc("ps", "--json").stdout)
    (mine,) = {row["family"] for row in rows if row["pid"] == pid}
    return [row for row in rows if row["family"] == mine]


@pytest.mark.parametrize(
    "program",
    [
        "{on}\nprint('here', flush=True)\nimport time; time.sleep(100000)",
        "print('here', flush=True)\nimport time; time.sleep(0.3)\n{on}\ntime.sleep(100000)",
    ],
    ids=["from the start", "later"],
)
def test_a_binding_carries_out_what_the_preloaded_library_is_told(program: str, tmp_path: Path) -> None:
    note, ready = tmp_path / "note", tmp_path / "ready"
    handlers = (
        "from gridcentric import guest\n"
        f"guest.before_clone(lambda: open({str(note)!r}, 'a').write('before '))\n"
        f"guest.on_clone(lambda vmid: open({str(note)!r}, 'a').write(f'clone{{vmid}} '))\n"
        f"open({str(ready)!r}, 'w').close()"
    )
    with running(sys.executable, "-c", program.format(on=handlers)) as master:
        assert wait_until(ready.exists)
        made = gc("clone", "--of", str(master.pid), "-n", "2")
        assert made.returncode == 0, made.stderr
        assert wait_until(lambda: len(note.read_text().split()) == 3)
        assert sorted(note.read_text().split()) == ["before", "clone1", "clone2"]
        threads = [Path(f"{task}/comm").read_text() for task in Path(f"/proc/{master.pid}/task").iterdir()]
        assert threads.count("gc-orders\n") == 1, threads


def test_a_node_program_clones_in_its_event_loop() -> None:
    module = ROOT / "node_modules" / "gridcentric"
    if not (module.exists() and shutil.which("node")):
        pytest.skip("not tried: node, or the package for it, is not built")
    source = (
        f"const gridcentric = require({str(module)!r});\n"
        "gridcentric.on('before', () => { throw new Error('busy with something else'); });\n"
        "console.log('here'); setInterval(() => {}, 100000);"
    )
    with running("node", "-e", source) as master:
        refused = gc("clone", "--of", str(master.pid), "-n", "1")
        assert refused.returncode != 0
        assert "busy with something else" in refused.stderr


def test_a_program_that_executes_another_goes_on_listening() -> None:
    with running("sh", "-c", "exec env A=1 sh -c 'echo here; while :; do sleep 1; done'") as master:
        assert gc("clone", "--of", str(master.pid), "-n", "2").returncode == 0
        assert [row["vmid"] for row in family(master.pid)] == [0, 1, 2]


def test_its_children_are_not_the_domain() -> None:
    child_of_it = """os.execvp('perl', ['perl', '-e', '$|=1; print "$$\\\\n"; sleep'])"""
    source = f"import os, time\nif os.fork() == 0:\n    {child_of_it}\ntime.sleep(100000)"
    with subprocess.Popen(
        [gc_binary(), "run", "--", sys.executable, "-c", source], env=CALM, stdout=subprocess.PIPE, text=True
    ) as master:
        assert master.stdout
        child = int(master.stdout.readline())
        try:
            assert "gc-orders\n" not in [Path(f"{task}/comm").read_text() for task in Path(f"/proc/{child}/task").iterdir()]
            assert gc("clone", "--of", str(child), "-n", "1").returncode != 0
            assert [row["vmid"] for row in family(master.pid)] == [0]
        finally:
            gc("end", "--pid", str(master.pid))
            os.kill(child, 9)


def test_its_connection_is_out_of_the_way_of_descriptors_chosen_by_number() -> None:
    script = "exec 3</dev/null 4</dev/null 9</dev/null; echo here; while :; do read -t 1 x <&3 || sleep 1; done"
    with running("bash", "-c", script) as master:
        opened = sorted(int(fd.name) for fd in Path(f"/proc/{master.pid}/fd").iterdir() if "socket:" in str(fd.readlink()))
        assert opened
        assert min(opened) >= 512
        assert gc("clone", "--of", str(master.pid), "-n", "1").returncode == 0


def elf(source: str, path: Path, *changes: tuple[bytes, bytes]) -> str:
    """A copy of a program with some of its bytes changed."""
    data = Path(source).read_bytes()
    for old, new in changes:
        assert data.count(old) >= 1
        data = data.replace(old, new.ljust(len(old), b"\0"), 1)
    path.write_bytes(data)
    path.chmod(0o755)
    return str(path)


def test_what_cannot_be_preloaded_is_refused_by_name(tmp_path: Path) -> None:
    true = shutil.which("true") or "/bin/true"
    linker = b"/lib64/ld-linux-x86-64.so.2"
    static = elf(str(STATIC), tmp_path / "static")
    script = tmp_path / "script"
    script.write_text(f"#!{static} -x\n")
    script.chmod(0o755)
    by_env = tmp_path / "by_env"
    by_env.write_text("#!/usr/bin/env -S A=1 static\n")
    by_env.chmod(0o755)
    wrong = {
        static: "linked statically",
        elf(true, tmp_path / "musl", (linker, b"/lib/ld-musl-x86_64.so.1")): "ld-musl",
        elf(true, tmp_path / "other", (b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x01\x01")): "another kind of processor",
        elf(true, tmp_path / "go", (b"__libc_start_main", b"__another_start__")): "linkmode=external",
        str(script): f"run by '{static}'",
        str(by_env): "linked statically",
    }
    for program, text in wrong.items():
        said = gc("run", "--", program, PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert said.returncode != 0
        assert said.stderr.startswith(f"gc run: '{program}' cannot be made cloneable"), said.stderr
        assert text in said.stderr
        assert "GRIDCENTRIC_SERVE=0" in said.stderr
    assert "Segmentation" not in gc("run", "--", static, GRIDCENTRIC_SERVE="0").stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a program setuid for another")
@pytest.mark.parametrize(("mode", "text"), [(0o4755, "setuid"), (0o2755, "setgid")])
def test_one_that_gives_rights_is_refused(tmp_path: Path, mode: int, text: str) -> None:
    program = elf(shutil.which("true") or "/bin/true", tmp_path / "program")
    os.chown(program, 65534, 65534)
    Path(program).chmod(mode)
    said = gc("run", "--", program)
    assert said.returncode != 0
    assert text in said.stderr


def test_a_program_that_is_not_there_is_said_as_before() -> None:
    said = gc("run", "--", "no-such-program")
    assert said.returncode == 127
    assert "cannot run 'no-such-program'" in said.stderr


def test_what_else_is_preloaded_stays(tmp_path: Path) -> None:
    library = Path(STATIC).with_name("libgridcentric-run.so")
    other = tmp_path / "libother.so"
    shutil.copy(library, other)
    said = gc("run", "--", "sh", "-c", 'echo "$LD_PRELOAD"', LD_PRELOAD=str(other))
    assert said.stdout.strip().endswith(f"/libgridcentric-run.so:{other}")
    assert gc("run", "--", "sh", "-c", 'echo "$LD_PRELOAD"', GRIDCENTRIC_SERVE="0").stdout == "\n"


# As daemons do when they start.
CLOSES_ALL = "import ctypes, os, time; os.closerange(3, 1 << 16); print('ready', flush=True); time.sleep(100000)"
CLOSES_EACH = CLOSES_ALL.replace("os.closerange(3, 1 << 16)", "[ctypes.CDLL(None).close(fd) for fd in range(3, 4096)]")


@pytest.mark.parametrize("source", [CLOSES_ALL, CLOSES_EACH], ids=["a range", "one by one"])
def test_a_program_that_closes_what_it_does_not_know_takes_the_first_order(source: str) -> None:
    with running(sys.executable, "-c", source) as program:
        said = gc("clone", "--of", str(program.pid), "-n", "2")
        assert (said.returncode, said.stderr) == (0, "")
        assert len(family(program.pid)) == 3


# As HAProxy's master does; the child lives as long as its parent.
LEAVES_A_CHILD = """
import os, sys, time
parent = os.getpid()
if os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.02)
    os._exit(0)
os.execv(sys.executable, [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(100000)"])
"""


def test_a_child_does_not_keep_the_orders_of_a_program_that_executes_another() -> None:
    with running(sys.executable, "-c", LEAVES_A_CHILD) as program:
        said = gc("clone", "--of", str(program.pid), "-n", "2")
        assert (said.returncode, said.stderr) == (0, "")
