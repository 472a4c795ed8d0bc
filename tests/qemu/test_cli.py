"""gc's side of the qemu hypervisor: what comes in and goes out, several at a time, and that nothing is left, whoever dies."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from gridcentric.hypervisors.qemu import shared_host

CLONE = "ticket=$(gc rt 2 2 1 -1); vmid=$(gc clone $ticket);"
# Two clones, one of which does nothing; the master tells how they ended.
FAMILY = f"""{CLONE}
if gc ismaster; then echo master; gc wait $ticket; echo over; exit 3
elif [ $vmid = 1 ]; then sleep 100000
else gc sync 2>/dev/null; gc join --report "sync ended with $?"; fi"""
REPORT = "text sync ended with 20"  # the barrier is broken


def read_until(stream: Any, wanted: str) -> list[str]:
    lines = []
    for line in stream:
        lines.append(line.strip())
        if lines[-1] == wanted:
            return lines
    raise AssertionError(f"{wanted!r} did not come: {lines}")


def pid_of(gc: Any, vmid: int) -> int:
    return next(domain["pid"] for domain in gc.domains() if domain["vmid"] == vmid)


def only_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


# --- without a VM ----------------------------------------------------------------------------------------------------------


def test_options_of_machines_go_with_qemu(gc: Any) -> None:
    done = gc("run", "--memory", "1G", "--", "true")
    assert done.returncode == 2
    assert "--memory goes with --hypervisor qemu" in done.stderr
    done = gc("run", "--hypervisor", "xen", "--", "true")
    assert done.returncode == 2
    assert "--hypervisor is 'xen', expected process or qemu" in done.stderr


def test_help_and_completion_know_the_options(gc: Any) -> None:
    for option in ("--hypervisor", "--memory", "--disk", "--init", "--image", "--publish", "--copy"):
        assert option in gc("run", "--help").stdout
        for shell in ("bash", "zsh"):
            assert option in gc("completion", shell).stdout
        assert f"-l {option[2:]}" in gc("completion", "fish").stdout
    assert "build|ls|rm" in gc("image", "--help").stdout


@pytest.mark.parametrize("python", ["none", "without the package"])
def test_gc_without_its_python_says_what_to_install(gc: Any, tmp_path: Path, python: str) -> None:
    alone = tmp_path / "gc"  # as npm installs it
    shutil.copy(gc.command, alone)
    if python != "none":
        (tmp_path / "python3").write_text('#!/bin/sh\nexec /usr/bin/env -i /usr/bin/python3 -S "$@"\n')
        (tmp_path / "python3").chmod(0o755)
    gc.command = str(alone)
    done = gc("run", "--hypervisor", "qemu", "--", "true", PATH=str(tmp_path))
    assert done.returncode == 24
    assert "pip install '.[qemu]'" in only_line(done.stderr)
    done = gc("host", "--gc", PATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_qemu(gc: Any, tmp_path: Path) -> None:
    done = gc("run", "--hypervisor", "qemu", "--", "true", PATH=str(tmp_path))
    assert done.returncode == 24
    assert only_line(done.stderr) == "gc: there is no qemu-system-x86_64 on PATH: apt-get install qemu-system-x86"


def test_a_host_without_machines(gc: Any) -> None:
    path = f"{gc.folder}/gridcentric.sock"
    host = gc.start("host", "--socket", path)
    assert host.stdout is not None
    read_until(host.stdout, f"listening on unix:{path}")
    other = gc("ps", GRIDCENTRIC_HOST=f"unix:{path}")
    assert other.returncode == 0
    host.terminate()
    assert host.wait() == 0


def test_images_are_listed_and_removed(gc: Any, tmp_path: Path) -> None:
    def image(*words: str) -> tuple[int, str]:
        done = gc(*words, XDG_DATA_HOME=str(tmp_path))
        return done.returncode, done.stdout + done.stderr

    store = tmp_path / "gridcentric" / "images"
    assert image("image", "ls") == (0, "")
    for name, digest in (("default", "0" * 16), ("1" * 16, "1" * 16)):  # the second was replaced while VMs ran from it
        (store / digest).mkdir(parents=True)
        about = {"name": name, "digest": digest, "made_from": "debian", "packages": ["nodejs"], "base": "2" * 16}
        (store / digest / "about.json").write_text(json.dumps({**about, "size": 3 << 20}))
    (store / ("3" * 16)).mkdir()  # of another version, which knew nothing of bases
    (store / ("3" * 16) / "about.json").write_text(json.dumps({"name": "default", "digest": "3" * 16, "packages": []}))
    (store / ".building-x").mkdir()  # of a build that was killed
    code, said = image("image", "ls")
    assert (code, [line.split() for line in said.splitlines()][-1]) == (
        0, ["default", "0" * 16, "3", "MiB", "from", "debian:", "nodejs"],
    )  # fmt: skip
    assert image("image", "rm", "nosuch")[0] == 1
    code, said = image("host", "--gc")
    assert (code, set(said.splitlines())) == (
        0, {f"removed {store}/{folder}" for folder in (".building-x", "1" * 16, "3" * 16)},
    )  # fmt: skip
    assert image("image", "rm", "default") == (0, "")
    assert not any(store.glob("[!.]*"))
    assert image("image", "build", "--name", "../x")[0] == 1
    assert image("image", "build", "--from", "/nosuch") == (
        1, "gc: --from /nosuch: expected debian, a folder or a tar file; there is no such file\n",
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs QEMU")
@pytest.mark.parametrize("said", [b"", shared_host.HELLO])
def test_a_shared_host_ends_whoever_has_come_and_says_no_more(gc: Any, said: bytes) -> None:
    path = f"{gc.folder}/gridcentric.sock"
    host = gc.start("host", "--hypervisor", "qemu", "--socket", path)
    read_until(host.stdout, f"listening on unix:{path}")
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as stranger:
        for connection in (silent, stranger):
            connection.connect(f"{path}.run")
        if said:
            socket.send_fds(silent, [said], [0, 1, 2])
        stranger.send(b"who?\n")
        assert stranger.recv(1) == b"", "and the one before has been taken in"
        host.terminate()
        assert host.wait() == 0


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs QEMU")
def test_a_shared_host_removes_its_sockets_and_nothing_else(gc: Any, tmp_path: Path) -> None:
    path = f"{gc.folder}/gridcentric.sock"
    # Nobody hears that it listens: it ends, and with it what it has made.
    with Path("/dev/full").open("w") as full:
        assert (
            subprocess.call([gc.command, "host", "--hypervisor", "qemu", "--socket", path], env=gc.environment, stdout=full)
            != 0
        )
    assert gc.left_over() == ({}, [])
    # A file that has the name of the second socket.
    (tmp_path / "it.run").write_text("mine")
    done = gc("host", "--hypervisor", "qemu", "--socket", f"{tmp_path}/it")
    assert done.returncode == 1
    assert only_line(done.stderr) == f"gc: cannot listen on {tmp_path}/it.run: Address already in use"
    assert (tmp_path / "it.run").read_text() == "mine"
    # A killed one's: the first has gone with another host that had the same path, and its name is a file's now.
    host = gc.start("host", "--hypervisor", "qemu", "--socket", path)
    read_until(host.stdout, f"listening on unix:{path}")
    host.kill()
    host.wait()
    gc.wait_for_end_of_all()
    Path(path).unlink()
    Path(path).write_text("mine")
    assert f"removed {path}.run" in gc("host", "--gc").stdout.splitlines()
    assert Path(path).read_text() == "mine"
    Path(path).unlink()


# --- with a VM -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("vms")
def test_input_output_files_and_exit_code(gc: Any, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_text("in a folder")
    (folder / "big").write_bytes(os.urandom(6 << 20))  # more than may be under way
    (tmp_path / "one").write_text("alone")
    script = "wc -l; cat /app/sub/file; cat /srv/two; wc -c < /app/big; nproc; echo said apart >&2; exit 7"
    done = gc(
        "run", "--hypervisor", "qemu", "--memory", "192M", "--cpus", "2", "--copy", f"{folder}:/app",
        "--copy", f"{tmp_path}/one:/srv/two", "--", "sh", "-c", script, stdin="from here\n" * 600_000,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, f"600000\nin a folderalone{6 << 20}\n2\n"), done.stderr
    assert "said apart" in done.stderr.splitlines()  # among what gc has to say


@pytest.mark.usefixtures("vms")
def test_the_least_memory(gc: Any) -> None:
    done = gc("run", "--hypervisor", "qemu", "--memory", "96M", "--", "sh", "-c", "gc vmid")
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


@pytest.mark.usefixtures("vms")
def test_wrong_wishes_are_told_at_once(gc: Any) -> None:
    def refused(*options: str) -> tuple[int, str]:
        done = gc("run", "--hypervisor", "qemu", *options, "--", "true")
        return done.returncode, done.stderr

    code, said = refused("--image", "nosuch")
    assert code == 1
    assert only_line(said).startswith("gc: there is no image 'nosuch' (there are: ")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused("--publish", f"{port}:80")
        assert (code, only_line(said)) == (
            1, f"gc: --publish {port}:80: port {port} of 127.0.0.1: Address already in use",
        )  # fmt: skip
    wrong = ("--memory much", "--memory 95M", "--publish 80", "--copy nosuch:/x", "--cpus 0", "--init init")
    for option, value in map(str.split, wrong):
        code, said = refused(option, value)
        assert code == 2
        assert f"{option} {value}" in said.splitlines()[-1]


@pytest.mark.usefixtures("vms")
def test_two_hosts_side_by_side_and_their_ends(gc: Any) -> None:
    one, two = (gc.machine("sh", "-c", FAMILY) for _ in range(2))
    for process in (one, two):
        read_until(process.stdout, "master")
    domains = gc.domains()
    assert sorted((d["vmid"], d["ip"]) for d in domains) == sorted(
        [(vmid, f"10.77.0.{vmid + 2}") for vmid in range(3)] * 2  # each in a network of its own
    )
    assert {d["hypervisor"] for d in domains} == {"qemu"}
    info = gc("host", "--info", "--socket", domains[0]["host"].removeprefix("unix:")).stdout
    assert "mode       tcg" in info or "mode       kvm" in info
    assert gc("image", "rm", "default").stderr.startswith("gc: the image 'default' is in use")

    # Ctrl-C ends one with all it has.
    one.send_signal(signal.SIGINT)
    assert one.wait() == 130
    # The other's QEMU of a clone dies: the ticket tells, and its sibling goes on.
    os.kill(pid_of(gc, 1), signal.SIGKILL)
    assert two.stdout is not None
    assert two.stdout.read().splitlines() == ["result 1 killed 9 -", f"result 2 joined 0 {REPORT}", "over"]
    assert two.wait() == 3


@pytest.mark.usefixtures("vms")
def test_a_killed_host_leaves_no_process_and_its_folder_is_found(gc: Any) -> None:
    process = gc.machine("sh", "-c", FAMILY)
    read_until(process.stdout, "master")
    assert len([p for p in gc.processes().values() if "qemu-system" in p]) == 3
    process.kill()
    process.wait()
    gc.wait_for_end_of_all()
    processes, [folder] = gc.left_over()
    assert processes == {}
    done = gc("host", "--gc")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"removed {folder}\n", "")
    assert gc("host", "--gc").stdout == ""


@pytest.mark.usefixtures("vms")
def test_a_shared_host(gc: Any) -> None:
    path = f"{gc.folder}/gridcentric.sock"
    host = gc.start("host", "--hypervisor", "qemu", "--socket", path, "--cpus", "5")
    read_until(host.stdout, f"listening on unix:{path}")
    second = gc("host", "--hypervisor", "qemu", "--socket", path)
    assert second.returncode == 1
    assert "a host listens on" in only_line(second.stderr)

    one, two = (gc.machine("sh", "-c", FAMILY, host=f"unix:{path}") for _ in range(2))
    for process in (one, two):
        read_until(process.stdout, "master")
    domains = gc.domains()
    assert len({d["family"] for d in domains}) == 2
    assert len({d["ip"] for d in domains}) == len(domains) == 6

    # A third's ticket has to wait, one CPU is free. Whoever asked for the first is killed: so is its family.
    three = gc.machine("sh", "-c", FAMILY, host=f"unix:{path}")
    read_until(three.stderr, "gc: running sh -c " + FAMILY.splitlines()[0])
    assert len(gc.domains()) == 7
    one.kill()
    read_until(three.stdout, "master")
    two.send_signal(signal.SIGTERM)
    assert two.wait() == 143
    # The host is killed: the program that was on it knows, and nothing of it lives.
    host.kill()
    host.wait()
    assert three.wait() == 25
    assert only_line(three.stderr.read().splitlines()[-1]).endswith("has ended, and the program with it")
    gc.wait_for_end_of_all()
    assert gc("run", "--hypervisor", "qemu", "--", "true", GRIDCENTRIC_HOST=f"unix:{path}").returncode == 25
    removed = gc("host", "--gc").stdout.splitlines()
    assert [line for line in removed if line.endswith((".sock", ".sock.run"))] == [f"removed {path}", f"removed {path}.run"]
    assert gc.left_over() == ({}, [])


@pytest.mark.usefixtures("vms")
def test_arguments_of_any_length_and_bytes(gc: Any) -> None:
    def arguments_arrive(host: str) -> None:
        words = [os.fsdecode(b"\xff\n"), "", "% " * 50_000]
        process = gc.machine("sh", "-c", 'printf "%s" "$1$2" | od -An -tx1; printf "%s" "$3" | md5sum', "-", *words, host=host)
        output, _ = process.communicate()
        assert (process.returncode, output) == (0, f" ff 0a\n{hashlib.md5(words[2].encode()).hexdigest()}  -\n")

    arguments_arrive("")
    path = f"{gc.folder}/gridcentric.sock"
    host = gc.start("host", "--hypervisor", "qemu", "--socket", path)
    read_until(host.stdout, f"listening on unix:{path}")
    arguments_arrive(f"unix:{path}")
    host.terminate()
    assert host.wait() == 0


@pytest.mark.usefixtures("vms")
def test_a_script_for_a_shared_host(gc: Any) -> None:
    """Its lines are the program's, whatever words they begin with."""
    path = f"{gc.folder}/gridcentric.sock"
    host = gc.start("host", "--hypervisor", "qemu", "--socket", path)
    read_until(host.stdout, f"listening on unix:{path}")
    process = gc.machine("sh", "-c", "echo out\nexit 3", host=f"unix:{path}")
    assert process.communicate() == ("out\n", ANY)
    assert process.returncode == 3
    host.terminate()
    assert host.wait() == 0


@pytest.mark.usefixtures("vms")
def test_nobody_reads_the_output(gc: Any) -> None:
    process = subprocess.Popen(
        [gc.command, "run", "--hypervisor", "qemu", "--", "sh", "-c", "yes"], env=gc.environment,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.read(100_000) == b"y\n" * 50_000
    process.stdout.close()
    assert process.wait() == 128 + signal.SIGPIPE
