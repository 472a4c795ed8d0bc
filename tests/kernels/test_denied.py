"""System calls that an old kernel or a container's filter refuses: a clone works, or the error names the call.

In both cases the master is as before: the testee compares all its descriptors, and nobody is left when it has ended.
Needs the core's tests: `nox -s kernels` builds them.
"""

from __future__ import annotations

import subprocess
import time

import pytest

from kernels import parts
from kernels.processes import of_session

TESTEES = parts.CORE / "tests/live_clone/live-clone-testees"
DENY = parts.CORE / "tests/live_clone/deny"
REAPER = parts.CORE / "gc-reaper"
GUEST = parts.CORE / "guest_capi_test"
CLONES = 2
HANG_S = 120

WORKS = "works"
# call: what is to come of it in pidns and plain mode; else the word that the refusal must hold.
CALLS: dict[str, tuple[str, str]] = {
    "clone3": ("clone3", WORKS),
    "close_range": (WORKS, WORKS),
    "eventfd2": ("eventfd", "eventfd"),
    "execveat": (WORKS, WORKS),
    "io_uring_setup": (WORKS, WORKS),
    "kcmp": (WORKS, WORKS),
    "madvise": ("madvise", "madvise"),
    "memfd_create": ("memfd_create", "memfd_create"),
    "mincore": (WORKS, WORKS),
    "pidfd_getfd": (WORKS, WORKS),
    "pidfd_open": ("pidfd_open", "pidfd_open"),
    "pidfd_send_signal": ("pidfd_send_signal", "pidfd_send_signal"),
    "process_vm_readv": (WORKS, WORKS),
    "ptrace": (WORKS, WORKS),
    "rseq": (WORKS, WORKS),
    "rt_tgsigqueueinfo": ("rt_tgsigqueueinfo", "rt_tgsigqueueinfo"),
    "set_robust_list": (WORKS, WORKS),
    "setns": (WORKS, WORKS),
    "signalfd4": (WORKS, WORKS),
    "tee": ("tee", "tee"),
    "unshare": (WORKS, WORKS),
    "waitid": (WORKS, WORKS),
}
ROWS = [(f"{call}={error}", *expected) for call, expected in CALLS.items() for error in ("EPERM", "ENOSYS")]
ROWS.remove(("clone3=EPERM", "clone3", WORKS))  # with that the C library itself makes no threads
ROWS += [
    ("get_robust_list=EPERM", "get_robust_list", "get_robust_list"),
    ("get_robust_list=ENOSYS", WORKS, WORKS),  # a kernel without robust futexes
    ("container", "use plain mode", WORKS),
    ("old-container", "pidfd_open", "pidfd_open"),
    ("namespaces", "use plain mode", WORKS),
    ("sock_diag", WORKS, WORKS),
    ("procmap_query", WORKS, WORKS),  # all mappings are read instead
]

pytestmark = pytest.mark.skipif(not DENY.exists(), reason="build the core's tests first: nox -s kernels")


def played(*command: object) -> str:
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
    guard = time.monotonic() + HANG_S
    while of_session(process.pid) and time.monotonic() < guard:
        time.sleep(0.005)  # what was killed is gone a moment later
    assert of_session(process.pid) == {}
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize("mode", ["pidns", "plain"])
@pytest.mark.parametrize(("denied", "in_pidns", "in_plain"), ROWS, ids=[row[0] for row in ROWS])
def test_refused_call(denied, in_pidns, in_plain, mode):
    expected = in_pidns if mode == "pidns" else in_plain
    output = played(DENY, denied, "--", TESTEES, "works_or_says_why", mode, CLONES, REAPER, "main")
    assert "master ok" in output
    if expected == WORKS:
        assert [f"clone {k} works" in output for k in range(1, CLONES + 1)] == [True] * CLONES, output
    else:
        refusals = [line for line in output.splitlines() if line.startswith("refused: ")]
        assert len(refusals) == 1 and expected in refusals[0], output
        assert "works" not in output


def test_container_clones_by_itself():
    """Without user namespaces a program is cloned in plain mode, host, reapers and all, with nothing to set."""
    played("/usr/bin/env", f"GRIDCENTRIC_GC={parts.CORE / 'gc'}", DENY, "container", "--", GUEST)
