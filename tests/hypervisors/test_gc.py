"""The gc command beside the process hypervisor, as a person uses it: the live table on a terminal, and checking processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import Domain, Process
from runner.hosts import gc_binary
from runner.unbuilt import Missing, without
from runner.wire import HANG_GUARD_S, Connection

MAIN_SCREEN = "\033[?1049l"
GC = gc_binary()


@pytest.fixture
def driver() -> Iterator[Process]:
    try:
        made = Process()
    except Missing as reason:
        without(reason)
    yield made
    made.stop()


class Terminal:
    """`gc top` on its own terminal."""

    def __init__(self, driver: Process, rows: int, columns: int) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        env = os.environ | {"GRIDCENTRIC_HOST": driver.host.address, "TERM": "xterm"}
        self.process = subprocess.Popen([GC, "top"], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
        self.screen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """Read until a whole frame is as wanted; its lines, without colours."""
        while True:
            for frame in self.screen.split("\033[H\033[J")[1:]:
                lines = re.sub(r"\033\[\d*m", "", frame).splitlines()
                if "q quits" in frame and holds(lines):
                    self.screen = ""
                    return lines
            assert select.select([self.master], [], [], HANG_GUARD_S)[0], f"gc top is silent: {self.screen!r}"
            self.screen += os.read(self.master, 1 << 16).decode()

    def end(self) -> str:
        """Wait for its end; what it wrote last. The terminal must be as it was."""
        assert self.process.wait(timeout=HANG_GUARD_S) == 0
        assert termios.tcgetattr(self.slave) == self.before, "the terminal has its modes back"
        while select.select([self.master], [], [], 0)[0]:
            self.screen += os.read(self.master, 1 << 16).decode()
        return self.screen

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def rows_of(lines: list[str], driver: Process) -> list[list[str]]:
    """The rows of our host's families: others of this user may be there as well."""
    with Connection(driver.host.socket, "observe") as observer:
        families = {row[0][:8] for row in observer.call("list_all")[0]}
    return [line.split() for line in lines[1:-1] if families & set(line.split())]


def cloned(master: Domain, vms: int) -> list[Domain]:
    (ticket,) = master.do("request", vms)
    return master.clone(ticket, vms)


def test_top_is_live(driver: Process) -> None:
    master = driver.master()
    terminal = Terminal(driver, rows=24, columns=120)
    try:
        lines = terminal.until(lambda lines: len(rows_of(lines, driver)) == 1)
        assert lines[0].split() == ["VMID", "PARENT", "ADDRESS", "STATE", "AGE", "PSS", "CPU", "FAMILY", "NAME"]
        assert rows_of(lines, driver)[0][:4] == ["0", "-", "127.0.0.1", "running"]
        one, _two = cloned(master, 2)
        rows = rows_of(
            terminal.until(lambda lines: len(rows_of(lines, driver)) == 3), driver
        )  # without a key: it draws anew by itself
        assert [row[:2] for row in rows] == [["0", "-"], ["1", "0"], ["2", "0"]]
        assert all(row[2].startswith("127.77.") and re.fullmatch(r"[\d.]+M", row[5]) for row in rows[1:])
        one.end("join", "done")
        terminal.until(lambda lines: [row[0] for row in rows_of(lines, driver)] == ["0", "2"])
        terminal.resize(3, 40)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        small = terminal.until(lambda lines: len(lines) == 3)
        assert all(len(line) <= 40 for line in small)
        terminal.type("x")  # any key but q: a new frame
        terminal.until(lambda lines: len(lines) == 3)
        terminal.type("q")
        assert terminal.end().endswith(MAIN_SCREEN)
    finally:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_top_gives_the_terminal_back_when_it_is_ended(driver: Process, number: signal.Signals) -> None:
    master = driver.master()
    terminal = Terminal(driver, rows=24, columns=80)
    try:
        terminal.until(lambda lines: len(rows_of(lines, driver)) == 1)
        terminal.process.send_signal(number)
        assert terminal.end().endswith(MAIN_SCREEN)
        assert master.do("domains"), "the domain has not noticed"
    finally:
        terminal.close()


def test_a_host_that_does_not_answer_does_not_stop_the_table(driver: Process, tmp_path: Path) -> None:
    master = driver.master()
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(tmp_path / "gridcentric.sock"))
    silent.listen()
    env = os.environ | {"GRIDCENTRIC_HOST": driver.host.address}
    result = subprocess.run([GC, "top", "--once"], env=env, capture_output=True, text=True, check=False, timeout=HANG_GUARD_S)
    silent.close()
    assert result.returncode == 0
    assert "127.0.0.1" in result.stdout
    assert master.do("domains")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([GC, "run", "--", *command], capture_output=True, text=True, check=False)


def check(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([GC, "check", *map(str, args)], capture_output=True, text=True, check=False)


def test_check_of_a_process_that_is_not_there() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    result = check(gone.pid)
    assert result.returncode == 1
    assert f"there is no process {gone.pid}" in result.stdout
    answer = json.loads(check("--json", gone.pid).stdout)
    assert answer["can_clone"] is False
    assert answer["refusals"] == [f"there is no process {gone.pid}"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_check_of_somebody_elses_process() -> None:
    mine = subprocess.Popen(["sleep", "1000"])
    try:
        nobody = subprocess.run(
            [
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--inh-caps=-all",
                GC,
                "check",
                str(mine.pid),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if nobody.returncode in (126, 127) or "setpriv" in nobody.stderr:
            pytest.skip(f"nobody may not run {GC}: {nobody.stderr}")
        assert nobody.returncode == 1
        assert f"process {mine.pid} can't be examined" in nobody.stdout
        assert "run this as its user" in nobody.stdout
    finally:
        mine.kill()
        mine.wait()


@contextlib.contextmanager
def python(program: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that has run this program (it prints a line) and waits."""
    program += "\nprint('ready', flush=True)\nimport time\ntime.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.skipif(os.getuid() != 0, reason="only root opens raw sockets")
@pytest.mark.parametrize("number", [3, 4, 5, 9])
def test_check_reads_every_descriptor(number: int) -> None:
    program = f"""if True:
        import os, socket
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).detach()
        if raw != {number}: os.dup2(raw, {number}), os.close(raw)"""
    with python(program) as process:
        result = check(process.pid)
    assert result.returncode == 1, result.stdout
    assert f"descriptor {number} is a raw socket" in result.stdout


def test_check_of_a_process_that_has_ended() -> None:
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    try:
        result = check(ended.pid)
    finally:
        ended.wait()
    assert result.returncode == 1
    assert "the process has ended (a zombie" in result.stdout


def test_check_of_a_thread_of_the_kernel() -> None:
    status = Path("/proc/2/status")
    if not status.exists() or "kthreadd" not in status.read_text():
        pytest.skip("the kernel's threads are not seen here")
    result = check(2)
    assert result.returncode == 1
    assert "a kernel thread" in result.stdout or "can't be examined" in result.stdout


def test_check_says_what_it_may_not_read() -> None:
    try:
        Path("/proc/1/fd/0").readlink()
        pytest.skip("process 1 can be examined here")
    except FileNotFoundError:
        pytest.skip("process 1 has no descriptor 0")
    except PermissionError:
        pass
    result = check(1)
    assert result.returncode == 1
    assert "can't be read (Permission denied)" in result.stdout or "can't be examined" in result.stdout


@pytest.mark.parametrize("word", ["0", "-1", "one", "99999999999"])
def test_check_of_what_is_no_process(word: str) -> None:
    result = check("--", word) if word.startswith("-") else check(word)
    assert result.returncode == 2
    assert word in result.stderr


def test_run_of_what_is_checked() -> None:
    result = run("sh", "-c", f"{GC} check $$")
    assert result.returncode == 0
    assert "can be cloned" in result.stdout


def test_run_of_top_shows_the_domain_it_runs_in() -> None:
    result = run(GC, "top", "--once")
    assert result.returncode == 0, result.stderr
    assert "127.0.0.1" in result.stdout
