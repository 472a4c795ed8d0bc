"""Hosts as gc meets them: whose they are, which are gone, where they listen; and gc on terminals and full disks."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from in_domain import GC, VERBS, Shell, gc

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")


@contextmanager
def gc_host(path: Path, user: int | None = None) -> Iterator[subprocess.Popen[str]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GRIDCENTRIC_", "XDG_"))}
    command = [GC, "host", "--socket", str(path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, user=user) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"listening on unix:{path}\n"
        yield process
        process.terminate()


@contextmanager
def folder_of(user: int) -> Iterator[Path]:
    """A folder that hosts are looked for in, of a user who can reach it."""
    with tempfile.TemporaryDirectory(prefix="gridcentric-test-", dir="/tmp") as name:
        os.chown(name, user, user)
        yield Path(name)


@needs_root
def test_the_host_of_another_user_is_not_obeyed() -> None:
    with folder_of(NOBODY) as folder, gc_host(folder / "host.sock", NOBODY):
        address = f"unix:{folder}/host.sock"
        for words in (["vmid"], ["host", "--info"], ["run", "--", "true"]):
            said = gc(*words, GRIDCENTRIC_HOST=address)
            assert (said.returncode, said.stdout) == (25, ""), said
            assert f"the host at '{address}' belongs to user {NOBODY}" in said.stderr
            assert "user 0 uses only its own hosts and root" in said.stderr


@needs_root
@pytest.mark.parametrize("mode", [0o600, 0o666], ids=oct)
def test_roots_host_says_whom_it_serves(mode: int) -> None:
    """Whether the socket can't be connected to, or the host hangs up."""
    with folder_of(NOBODY) as folder, gc_host(folder / "host.sock"):
        (folder / "host.sock").chmod(mode)
        for words in (["vmid"], ["host", "--info"], ["run", "--", "true"]):
            env = {**os.environ, "GRIDCENTRIC_HOST": f"unix:{folder}/host.sock"}
            said = subprocess.run([GC, *words], env=env, user=NOBODY, capture_output=True, text=True, check=False)
            assert (said.returncode, said.stdout) == (25, ""), said
            assert f"the host at 'unix:{folder}/host.sock' does not serve user {NOBODY}" in said.stderr
            assert f"start one as user {NOBODY} with 'gc host', or unset GRIDCENTRIC_HOST" in said.stderr


@needs_root
def test_the_host_of_another_user_is_not_asked() -> None:
    """Not even connected to: a socket that answers nothing would hold up the table."""
    with folder_of(NOBODY) as folder:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{folder}/host.sock")
        os.chown(f"{folder}/host.sock", NOBODY, NOBODY)
        listener.listen()
        listener.settimeout(0)
        said = gc("ps")
        assert (said.returncode, said.stderr) == (0, "")
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.close()


def test_a_host_that_is_gone_does_not_hide_the_others(shell: Shell, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gridcentric-test-", dir="/tmp") as folder, gc_host(Path(folder) / "host.sock"):
        master = subprocess.Popen(
            [GC, "run", "--", "cat"], env=os.environ | {"GRIDCENTRIC_HOST": f"unix:{folder}/host.sock"}, stdin=subprocess.PIPE
        )
        try:
            rows = []
            while master.pid not in [row["pid"] for row in rows]:
                assert master.poll() is None
                said = gc("ps", "--json", GRIDCENTRIC_HOST=f"unix:{tmp_path}/gone.sock")
                assert said.returncode == 0
                rows = json.loads(said.stdout)
            assert f"gc ps: GRIDCENTRIC_HOST: no host listens on 'unix:{tmp_path}/gone.sock'" in said.stderr
        finally:
            assert master.stdin is not None
            master.stdin.close()
            master.wait()


def test_a_stopped_host_is_named() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="gridcentric-test-", dir="/tmp") as folder,
        gc_host(Path(folder) / "host.sock") as host,
    ):
        host.send_signal(signal.SIGSTOP)
        said = gc("ps")
        host.send_signal(signal.SIGCONT)
        assert said.returncode == 0
        assert f"the host at 'unix:{folder}/host.sock' does not answer" in said.stderr


@pytest.mark.parametrize("name", ["host.sock", "host.sock.new"])
def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    said = gc("host", "--socket", str(tmp_path / "host.sock"))
    assert (said.returncode, said.stdout) == (1, "")
    assert f'"{tmp_path}/{name}" exists and is not a socket' in said.stderr
    assert (tmp_path / name).read_text() == "precious"
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("a disk that is not mounted")
    assert f'"{tmp_path}/{name}" exists and is not a socket' in gc("host", "--socket", str(tmp_path / "host.sock")).stderr
    assert (tmp_path / name).is_symlink()


def test_the_socket_is_of_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with gc_host(tmp_path / "host.sock"):
            assert stat.S_IMODE((tmp_path / "host.sock").stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_folder_of_hooks(tmp_path: Path) -> None:
    script = "from gridcentric import guest\nticket = guest.request_ticket(1, 1, 1, 1000)\nguest.clone(ticket)"
    env = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
    said = subprocess.run(
        [sys.executable, "-c", script],
        env=env | {"GRIDCENTRIC_HOOKS": f"{tmp_path}/hoks"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert f"CloneFailed: GRIDCENTRIC_HOOKS is '{tmp_path}/hoks', No such file or directory" in said.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_help_on_a_full_disk(verb: str) -> None:
    with Path("/dev/full").open("w") as full:
        for words in ([verb, "--help"], ["help", verb]):
            said = subprocess.run([GC, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert said.returncode == 1
            assert "cannot write the answer to standard output: No space left on device" in said.stderr


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["ps"], ["ps", "--json"], ["top", "--once"], ["host", "--info"], ["check", "self"],
     ["completion", "bash"], ["lt"], ["ld"], ["vmid"], ["my-ip"], ["rt", "1", "1", "1", "0"]],
    ids=" ".join,
)  # fmt: skip
def test_an_answer_on_a_full_disk(shell: Shell, words: list[str]) -> None:
    words = [str(os.getpid()) if word == "self" else word for word in words]
    with Path("/dev/full").open("w") as full:
        env = os.environ | {"GRIDCENTRIC_HOST": shell.host.address}
        said = subprocess.run([GC, *words], env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert said.returncode == 1
    assert "cannot write the answer to standard output" in said.stderr


def on_a_terminal(*words: str, **environment: str) -> str:
    """What gc writes to a terminal until "q" ends it, or until it ends."""
    here, there = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"} | environment
    with subprocess.Popen([GC, *words], env=env, stdin=there, stdout=there, start_new_session=True) as process:
        os.close(there)
        said = b""
        while True:
            try:
                if select.select([here], [], [], 1)[0]:
                    said += os.read(here, 65536)
                    if b"q quits" in said and not said.endswith(b"!"):
                        os.write(here, b"q")
                        said += b"!"
            except OSError:  # the other side is closed
                break
            if process.poll() is not None and not select.select([here], [], [], 0)[0]:
                break
    os.close(here)
    return said.decode()


def test_top_draws_in_bold() -> None:
    said = on_a_terminal("top")
    assert said.startswith("\033[?1049h")
    assert "\033[1m" in said


def test_top_without_color() -> None:
    said = on_a_terminal("top", NO_COLOR="1")
    assert said.startswith("\033[?1049h")
    assert "\033[1m" not in said and "\033[2m" not in said
    assert "\033[1m" in on_a_terminal("top", NO_COLOR="")  # empty: as if it were not set


@pytest.mark.parametrize("terminal", ["dumb", ""])
def test_top_on_a_terminal_that_can_do_nothing(terminal: str) -> None:
    said = on_a_terminal("top", TERM=terminal)
    assert "\033" not in said
    assert "PSS in all" in said
