"""A machine is like a separate computer, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from machines import CommandFailed, Machine, root

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines need root")


@pytest.fixture(scope="module")
def tree() -> Path:
    return root("bookworm", "git", "make")


@pytest.fixture
def machine(tree: Path) -> Iterator[Machine]:
    with Machine(tree, user="ada") as made:
        yield made


def mounts() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()


def test_who_and_where(machine: Machine) -> None:
    assert machine.run("sh", "-c", "id -un; pwd; echo $HOME").stdout.split() == ["ada", "/home/ada", "/home/ada"]
    assert machine.run("id", "-un", as_root=True).stdout == "root\n"
    assert "bookworm" in machine.run("cat", "/etc/os-release").stdout


def test_what_one_command_wrote_the_next_reads_and_the_tree_keeps_nothing(machine: Machine, tree: Path) -> None:
    machine.run("sh", "-c", "echo kept >note")
    assert machine.run("cat", "note").stdout == "kept\n"
    assert not (tree / "home" / "ada").exists()


def test_files_come_and_go(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "sent").write_text("by us\n")
    machine.put(tmp_path / "sent", "/home/ada/sent")
    machine.run("sh", "-c", "cat sent >made; echo by ada >>made")
    machine.get("/home/ada/made", tmp_path)
    assert (tmp_path / "made").read_text() == "by us\nby ada\n"


def test_namespaces_for_ordinary_users(machine: Machine) -> None:
    machine.run("unshare", "--user", "--map-root-user", "true")
    machine.run("unshare", "-Urpf", "--mount-proc", "sh", "-c", 'test "$(cat /proc/sys/kernel/pid_max)" -gt 1 && test $$ = 1')


def test_devices_and_processes_of_its_own(machine: Machine) -> None:
    names = machine.run("ls", "/dev").stdout.split()
    assert "null" in names
    assert "kvm" not in names
    assert "net" not in names
    machine.run("sh", "-c", "echo x >/dev/null && test -w /dev/shm && exec 3<>/dev/ptmx")
    assert machine.run("cat", "/proc/1/comm").stdout == "cat\n"


def test_orphans_are_reaped(machine: Machine) -> None:
    machine.run("sh", "-c", "(sleep 0.1 & echo $! >orphan)")
    machine.run("sh", "-c", "while test -e /proc/$(cat orphan); do sleep 0.05; done", timeout=60)


def test_processes(machine: Machine) -> None:
    assert machine.processes() == []
    machine.run("sh", "-c", "sleep 3600 & :")
    assert machine.processes() == ["sleep 3600 "]


def test_the_network_of_this_computer(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = threading.Thread(target=lambda: server.accept()[0].sendall(b"hello\n"))
        answer.start()
        script = f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}; head -n 1 <&3"
        assert machine.run("bash", "-c", script).stdout == "hello\n"
        answer.join()


def test_a_failure_tells_what_was_said(machine: Machine) -> None:
    with pytest.raises(CommandFailed, match=r"(?s)ended with 3.*no such luck"):
        machine.run("sh", "-c", "echo no such luck >&2; exit 3")


def test_a_signal_as_from_a_terminal(machine: Machine) -> None:
    with tempfile.TemporaryFile() as output:
        script = 'trap "echo interrupted; exit 5" INT; echo up; while :; do sleep 0.05; done'
        started = machine.start("sh", "-c", script, output=output)
        while os.fstat(output.fileno()).st_size == 0:
            time.sleep(0.01)
        started.signal(signal.SIGINT)
        assert started.wait(60) == 5


def test_a_checkout(machine: Machine) -> None:
    machine.put_checkout(ROOT, "/home/ada/checkout")
    assert "build" in machine.run("make", "help", folder="/home/ada/checkout").stdout
    assert machine.run("git", "status", "--porcelain", folder="/home/ada/checkout").stdout == ""


def test_nothing_is_left(tree: Path) -> None:
    before = mounts()
    with Machine(tree) as machine, tempfile.TemporaryFile() as output:
        machine.start("sleep", "3600", output=output)
        holder = machine._holder.pid
    assert mounts() == before
    assert not Path(f"/proc/{holder}").exists()


def test_processes_end_with_whoever_started_the_machine(tree: Path) -> None:
    program = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "tests")!r})
from machines import Machine
from pathlib import Path
machine = Machine(Path({str(tree)!r})).__enter__()
machine.start("sleep", "3600", output=open("/dev/null", "wb"))
print(machine._pid, flush=True)
time.sleep(3600)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process.stdout:
        first = process.stdout.readline().strip()
        process.kill()
        process.wait()
    while Path(f"/proc/{first}").exists():
        time.sleep(0.02)
