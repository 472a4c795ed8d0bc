"""Runs every testee (prepare -> clone -> check in master and clones) in both modes, from the main thread and from another.

Needs the programs: `cmake -B build -DGC_TESTS=ON && cmake --build build`; GC_BUILD names the build directory (default build).
GC_REPEAT=N runs each case N times. A hang is reported with the stacks of every process of the testee.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("GC_BUILD", ROOT / "build")).resolve()
PROGRAM = next((p for p in (BUILD / "tests/live_clone/live-clone-testees", BUILD / "live-clone-testees") if p.exists()), None)
REAPER = BUILD / "gc-reaper"
REPEAT = int(os.environ.get("GC_REPEAT", "1"))
HANG = float(os.environ.get("GC_HANG_SECONDS", "120"))  # a guard against hangs, not a limit on how long things may take
CLONES = 3

# In these, no clone reaches the end of its testee; churn and the like make more clones than one order does.
UNCOUNTED = {
    "lifeline_closed_ends_clones",
    "reaper_killed_ends_clone",
    "stand_in_killed_ends_clone_pidns",
    "descendants_end_with_the_clone",
    "clone_ended_by_signal",
    "refuses_without_main_thread_main",
    "refuses_under_seccomp",
    "clone_of_a_clone",
    "churn",
    "nothing_is_leaked",
    "waits_go_on_for_the_rest",
    "works_or_says_why",
}
NEEDS = {"refuses_tunnel": "/dev/net/tun"}
RING = re.compile(r"(^|_)rings?(_|$)")


def why_no_rings() -> str:
    """Empty if an io_uring can be made; the kernel may lack it, or a sysctl or a container's filter may forbid it."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(425, 4, ctypes.create_string_buffer(120))
    if fd < 0:
        return f"io_uring_setup: {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    return ""


NO_RINGS = why_no_rings()


def names() -> list[str]:
    if PROGRAM is None:
        return []
    return subprocess.run([PROGRAM], capture_output=True, text=True, check=True).stdout.split()


def members(session: int) -> list[int]:
    """The living processes of a session: testee, reapers and clones, whatever namespace they are in."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(entry))
    return found


def stacks(session: int) -> str:
    text = []
    for pid in members(session):
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                text.append(
                    f"{pid}/{task.name} {(task / 'comm').read_text().strip()} {(task / 'wchan').read_text()} "
                    f"{(task / 'syscall').read_text().strip()}"
                )
            except OSError:
                continue
        if shutil.which("gdb"):
            gdb = subprocess.run(
                ["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 12"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            text.append(gdb.stdout)
    return "\n".join(text)


def output_of(process: subprocess.Popen[str], what: str) -> str:
    """All output of a session's first process until it ends; a hang ends the session and the test, with all stacks."""
    try:
        output, _ = process.communicate(timeout=HANG)
    except subprocess.TimeoutExpired:
        report = stacks(process.pid)
        for pid in members(process.pid):
            os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"{what} hangs:\n{output}\n{report}")
    return output


def run(name: str, mode: str, where: str, clones: int = CLONES) -> None:
    process = subprocess.Popen(
        [PROGRAM, name, mode, str(clones), REAPER, where],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output = output_of(process, f"{name} in {mode} mode")
    assert "FAILED" not in output, output
    if name == "master_dies_with_held_clones":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 0, output
        assert "master ok" in output
        if name == "churn":
            assert len(re.findall(r"clone \d+ ok", output)) == 200 // clones * clones, output
        if name not in UNCOUNTED:
            for k in range(1, clones + 1):
                assert f"clone {k} ok" in output, output
    if name == "standard_output_is_not_written_twice":
        assert output.count("printed once") == 1, output
    # Killed processes are gone a moment later.
    guard = time.monotonic() + HANG
    while members(process.pid) and time.monotonic() < guard:
        time.sleep(0.005)
    assert members(process.pid) == [], stacks(process.pid)


@pytest.mark.skipif(PROGRAM is None, reason="build the testees first (see the head of this file)")
def test_programs_are_built():
    assert REAPER.exists() and names()


@pytest.mark.parametrize("repeat", range(REPEAT))
@pytest.mark.parametrize("where", ["main", "thread"])
@pytest.mark.parametrize("mode", ["pidns", "plain"])
@pytest.mark.parametrize("name", names())
def test_testee(name, mode, where, repeat):
    only = name.rpartition("_")[2]
    if only in ("pidns", "plain") and only != mode:
        pytest.skip(f"for {only} mode only")
    if only == "main" and where != "main":
        pytest.skip("for the main thread only")
    if name in NEEDS and not Path(NEEDS[name]).exists():
        pytest.skip(f"there is no {NEEDS[name]} here")
    if RING.search(name) and NO_RINGS:
        pytest.skip(NO_RINGS)
    run(name, mode, where)


# Many clones, so that there are several frozen copies, where there are several processors.
SEVERAL_COPIES = ["changes_after_release_stay_the_masters", "copy_killed", "failure_at_the_kth_undoes_all",
                  "master_dies_with_held_clones", "read_locks_hold_until_all_clones_have_them", "reaper_killed_ends_clone",
                  "what_the_master_closes_is_closed"]  # fmt: skip


@pytest.mark.parametrize("mode", ["pidns", "plain"])
@pytest.mark.parametrize("name", SEVERAL_COPIES)
def test_several_copies(name, mode):
    run(name, mode, "main", clones=20)


@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_sixty_one_clones(mode):
    run("recursive_mutex", mode, "main", clones=61)
