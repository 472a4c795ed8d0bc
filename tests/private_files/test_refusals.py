"""What cannot be private, or cannot follow, is said by name: before the program starts, or before anybody is stopped."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from programs import program
from runner.hosts import gc_binary, wait_until
from sandboxes import CALM, HANG_GUARD_S, Sandbox

NOT_SUPPORTED = 24


def refused(sandbox: Sandbox, private: str) -> tuple[int, str]:
    said = sandbox.run("echo", "it ran", private=private)
    assert said.stdout == ""
    return said.returncode, said.stderr


def test_folders(sandbox: Sandbox) -> None:
    sandbox.has(file="")
    (sandbox.folder / "sub").mkdir()
    for folder, code, text in [
        ("/", NOT_SUPPORTED, "'/' has other file systems mounted below it"),
        ("/dev", NOT_SUPPORTED, "is mounted below it"),
        ("nowhere", 2, "'nowhere' cannot be found"),
        ("file", 2, "'file' is not a folder"),
        (".,sub", 2, "overlap"),
        ("sub,sub", 2, "overlap"),
    ]:
        said = refused(sandbox, f"--private-files={folder}")
        assert (said[0], text in said[1]) == (code, True), said


def test_several_folders(sandbox: Sandbox) -> None:
    for name in ("one", "two, with a blank"):
        (sandbox.folder / name.split(",")[0]).mkdir()
    sandbox.has()
    said = sandbox.run(
        "sh", "-c", "echo x > one/x; echo y > two/y; echo z > z; cat one/x two/y", private="--private-files=one,two"
    )
    assert (said.stdout, said.stderr) == ("x\ny\n", "")
    assert sandbox.contents() == {"one": "folder", "two": "folder", "z": "z\n"}


def test_other_hypervisors(sandbox: Sandbox) -> None:
    command = [*sandbox.before, gc_binary(), "run", "--hypervisor", "qemu", "--private-files", "--", "true"]
    said = subprocess.run(command, env=CALM, capture_output=True, text=True, check=False)
    assert (said.returncode, "--private-files goes with --hypervisor process" in said.stderr) == (2, True)


def test_inside_a_sandbox(sandbox: Sandbox) -> None:
    said = sandbox.run("gc", "run", "--private-files", "--", "true")
    assert (said.returncode, "leave the option out" in said.stderr) == (NOT_SUPPORTED, True)
    assert sandbox.run("gc", "run", "--", "echo", "well").stdout == "well\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can refuse itself something")
def test_without_namespaces(sandbox: Sandbox, tmp_path: Path) -> None:
    deny = Path(os.environ.get("GC_BUILD", "build/core"), "tests/live_clone/deny").resolve()
    if not deny.exists():
        pytest.skip(f"not tried: {deny} is not built")
    command = [*sandbox.before, str(deny), "unshare=EPERM", "--", gc_binary(), "run", "--private-files", "--", "echo", "it ran"]
    said = subprocess.run(command, env=CALM, cwd=sandbox.folder, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (NOT_SUPPORTED, ""), said
    assert "a user and mount namespace is refused here (Operation not permitted)" in said.stderr


REFUSED = {
    "removed working folder": ("os.mkdir('w'); os.chdir('w'); os.rmdir('../w')", "the working folder has been removed"),
    "removed folder": ("os.mkdir('w'); w = os.open('w', os.O_RDONLY); os.rmdir('w')", "a folder that has been removed"),
    "removed path": ("write('w', ''); w = os.open('w', os.O_PATH); os.remove('w')", "the path of what has been removed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_follow(case: str, mode: str, sandbox: Sandbox) -> None:
    prepare, text = REFUSED[case]
    foretell = "explained = guest.explain(); print(explained.can_clone, explained.report)"
    sandbox.has(program=program(f"{prepare}\n{foretell}", "pass"))
    said = sandbox.run(sandbox.python, "program", mode=mode)
    assert said.stdout.startswith("False"), said
    assert text in said.stdout
    assert said.returncode == 1
    assert "NotSupported" in said.stderr
    assert text in said.stderr
    assert sandbox.contents() == {"program": (sandbox.folder / "program").read_text()}


def test_folders_that_cannot_be_seen(sandbox: Sandbox) -> None:
    """After chroot(), say: a process of such a family that sees none of its folders."""
    process = subprocess.Popen([*sandbox.before, "sleep", "1000"], env=CALM | {"GRIDCENTRIC_PRIVATE_FILES": "1"})
    wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
    said = sandbox.gc("check", str(process.pid))
    process.kill()
    process.wait()
    assert (said.returncode, "can't be found from its root folder (chroot)" in said.stdout) == (1, True), said


def test_the_host_stays_outside(mode: str, sandbox: Sandbox) -> None:
    """It must see what it is asked about, and keeps no sandbox's memory."""
    sandbox.has(script="gc vmid; exec sleep 1000")
    master = sandbox.start("bash", "script", mode=mode)
    assert master.stdout
    assert master.stdout.readline() == "0\n"
    rows = json.loads(sandbox.gc("ps", "--json").stdout)
    (host,) = {row["host"] for row in rows if row["pid"] == master.pid}
    (info,) = json.loads(sandbox.gc("host", "--info", "--json", host=host).stdout)
    mounts = [Path(f"/proc/{pid}/mountinfo").read_text() for pid in (master.pid, int(info["pid"]))]
    sandbox.gc("end", "--pid", str(master.pid))
    master.communicate(timeout=HANG_GUARD_S)
    assert ["gridcentric-store" in text for text in mounts] == [True, False]
