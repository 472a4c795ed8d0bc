"""How `gc scale` ends, and that nothing is left then; what it says when it can't begin."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scaled import CALM, GC, HERE, PROGRAMS, Client, free_ports, metrics, read, until

from gridcentric import _paths

TCP = ("--protocol", "tcp", "--per-clone", "5", "--min", "2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything(service: Any, number: int) -> None:
    made = service("lines.py", *TCP)
    made.scaled.ready()
    client = Client(made.listen)
    assert client.ask("visit") == "1"
    assert made.scaled.end(number) == 0
    assert client.line() == ""


def test_requests_under_way_are_answered(service: Any, tmp_path: Path) -> None:
    made = service("web.py", "--per-clone", "5", settings='end_limit = "1h"\n')
    made.scaled.ready()
    client = socket.create_connection((HERE, made.listen), timeout=100)
    client.sendall(f"GET /until{tmp_path}/now HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    until(lambda: metrics(made.listen)["gridcentric_users"], "the request")
    made.scaled.note_processes()
    made.scaled.process.send_signal(signal.SIGTERM)
    made.scaled.said("gc scale: 1 request under way may take up to 3600 s more; a second signal ends the wait\n")
    with pytest.raises(ConnectionRefusedError):
        Client(made.listen)
    (tmp_path / "now").touch()
    answer = client.makefile("rb").read()  # until the connection is closed
    client.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert made.scaled.ended() == 0
    assert "cut off\n" not in made.scaled.err


def test_connections_may_end_by_themselves(service: Any) -> None:
    made = service("lines.py", *TCP, settings='end_limit = "1h"\n')
    made.scaled.ready()
    client, other = Client(made.listen), Client(made.listen)
    assert (client.ask("visit"), other.ask("visit")) == ("1", "1")
    made.scaled.note_processes()
    made.scaled.process.send_signal(signal.SIGTERM)
    made.scaled.said("gc scale: 2 connections under way may take up to 3600 s more")
    client.close()
    assert other.ask("visit") == "2"
    other.close()
    assert made.scaled.ended() == 0


@pytest.mark.parametrize("limit", ["100ms", "1h"])
def test_connections_are_cut_off_in_the_end(service: Any, limit: str) -> None:
    """When the time has passed, or at a second signal."""
    made = service("lines.py", *TCP, settings=f'end_limit = "{limit}"\n')
    made.scaled.ready()
    client = Client(made.listen)
    assert client.ask("visit") == "1"
    made.scaled.note_processes()
    made.scaled.process.send_signal(signal.SIGTERM)
    made.scaled.said("gc scale: 1 connection under way may take")
    if limit == "1h":
        made.scaled.process.send_signal(signal.SIGINT)
    assert client.line() == ""
    assert made.scaled.ended() == 0
    assert "gc scale: 1 connection under way cut off\n" in made.scaled.err


def test_a_second_signal_does_not_wait_for_the_program(service: Any) -> None:
    made = service("lines.py", *TCP, "--deaf", settings='stop_limit = "1h"\n')
    made.scaled.ready()
    made.scaled.process.send_signal(signal.SIGTERM)
    until(lambda: len(made.scaled.note_processes()) < 5, "the end of the clones")
    assert made.scaled.end(signal.SIGINT) == 0


def test_it_is_killed(service: Any) -> None:
    made = service("lines.py", *TCP)
    made.scaled.ready()
    assert made.scaled.end(signal.SIGKILL) == -signal.SIGKILL


def test_the_programs_exit_code_is_ours(service: Any) -> None:
    made = service("lines.py", *TCP)
    made.scaled.ready()
    master = Client(made.app)
    master.socket.sendall(b"die 7\n")
    assert made.scaled.ended() == 7
    assert "has ended with exit code 7, and its clones with it" in made.scaled.err


def test_the_hosts_death_ends_everything(service: Any) -> None:
    made = service("lines.py", *TCP)
    made.scaled.ready()
    hosts = [pid for pid in made.scaled.pids if b"--private" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(hosts[0], signal.SIGKILL)
    assert made.scaled.ended() == 25
    assert made.scaled.err.endswith("gc scale: the host has ended, and all clones with it: the program is ended too\n")


def test_on_a_host_that_others_share(scale: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "host.sock")
    with subprocess.Popen([GC, "host", "--socket", path], env=CALM, stdout=subprocess.PIPE) as host:
        assert host.stdout
        host.stdout.readline()
        listen, app = free_ports(2)
        words = ("--listen", str(listen), "--app", str(app), *TCP, "--", sys.executable, str(PROGRAMS / "lines.py"), str(app))
        scaled = scale(*words, env={"GRIDCENTRIC_HOST": f"unix:{path}"})
        scaled.ready()
        assert Client(listen).ask("visit") == "1"
        assert scaled.end() == 0
        env = CALM | {"GRIDCENTRIC_HOST": f"unix:{path}"}
        shown = subprocess.run([GC, "ps"], env=env, capture_output=True, text=True, check=True)
        assert str(app) not in shown.stdout
        host.terminate()


def gc_scale(*words: str, cwd: Path | None = None) -> tuple[int, str]:
    done = subprocess.run([GC, "scale", *words], env=CALM, capture_output=True, text=True, check=False, timeout=100, cwd=cwd)
    return done.returncode, done.stderr


def test_what_it_says_when_it_cannot_begin(tmp_path: Path) -> None:
    listen, app = (str(port) for port in free_ports(2))
    ours = ("--listen", listen, "--app", app, "--per-clone", "5", "--")
    assert gc_scale(*ours, "no-such-program") == (
        127, "gc scale: the program 'no-such-program' is not found on PATH: give its path, or install it\n",
    )  # fmt: skip
    (tmp_path / "text").write_text("text")
    assert gc_scale(*ours, str(tmp_path / "text"))[0] == 126
    (tmp_path / "scale.toml").write_text("per_clones = 5\n")
    assert gc_scale("scale.toml", cwd=tmp_path) == (
        2, "gc scale: scale.toml: unknown setting 'per_clones': did you mean 'per_clone'?\n",
    )  # fmt: skip
    with socket.create_server((HERE, 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = gc_scale("--listen", port, "--app", app, "--per-clone", "5", "--", "sleep", "9")
        assert (code, "cannot listen on port " + port in said, "--listen" in said) == (1, True, True)
        code, said = gc_scale("--listen", listen, "--app", port, "--per-clone", "5", "--", "sleep", "9")
        assert (code, said.startswith(f"gc scale: app: cannot listen on {HERE} port {port} (Address already in use)")) == (
            1,
            True,
        )


def test_a_program_that_ends_before_it_listens() -> None:
    listen, app = (str(port) for port in free_ports(2))
    code, said = gc_scale("--listen", listen, "--app", app, "--per-clone", "5", "--", "sh", "-c", "echo no luck >&2; exit 3")
    assert (code, said) == (3, "no luck\ngc scale: 'sh' has ended with exit code 3 before it could be cloned\n")


def test_a_program_that_cannot_be_preloaded(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("gcc makes the static program")
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static", "-o", "main", "main.c"], cwd=tmp_path, check=True)
    listen, app = (str(port) for port in free_ports(2))
    code, said = gc_scale("--listen", listen, "--app", app, "--per-clone", "5", "--", str(tmp_path / "main"))
    assert code == 24
    assert re.search(r"^gc run: .*main.* static", said, re.M), said


def test_a_program_that_never_listens(tmp_path: Path) -> None:
    listen, app = free_ports(2)
    file = tmp_path / "scale.toml"
    file.write_text(f'command = ["sleep", "1000"]\nlisten = {listen}\napp = {app}\nper_clone = 5\nstart_limit = "200ms"\n')
    code, said = gc_scale(str(file))
    assert code == 1
    assert f"'sleep' does not listen on port {app} after 200 ms: is that the port of the program (app)?" in said


def test_without_the_python_package(tmp_path: Path) -> None:
    """As from npm: another gc, and a python3 that lacks the package."""
    gc = tmp_path / "gc"
    shutil.copy(_paths.GC, gc)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to("/usr/bin/python3")
    env = {name: value for name, value in CALM.items() if not name.startswith("PYTHON")} | {"PATH": f"{tmp_path}/bin"}
    done = subprocess.run([str(gc), "scale", "x.toml"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 24
    assert "scale comes with the Python package" in done.stderr
    assert "-m pip install '.[autoscale]'" in done.stderr


@pytest.mark.parametrize("lacking", ["aiohttp", "tomli"])
def test_without_what_it_needs(lacking: str) -> None:
    source = (
        f"import sys; sys.modules[{lacking!r}] = None; sys.version_info = (3, 9, 0)\n"
        "from gridcentric.scale.__main__ import main; sys.exit(main(['x.toml']))"
    )
    done = subprocess.run([sys.executable, "-c", source], env=CALM, capture_output=True, text=True, check=False)
    assert done.returncode == 24
    assert lacking in done.stderr.splitlines()[0]
    assert "-m pip install" in done.stderr


def test_settings_are_read_again(scale: Any, tmp_path: Path) -> None:
    listen, app = free_ports(2)
    file = tmp_path / "scale.toml"
    text = f'command = ["{sys.executable}", "{PROGRAMS}/web.py", "{app}"]\nlisten = {listen}\napp = {app}\nper_clone = 5\n'
    file.write_text(text + "max = 2\n")
    scaled = scale(str(file)).ready()
    assert 'gridcentric_clones{state="serving"} 1\n' in read(listen, "/_gridcentric/metrics")
    file.write_text(text + "min = 2\nmax = 3\n")
    scaled.said("new settings: min, max")
    until(lambda: 'gridcentric_clones{state="serving"} 2\n' in read(listen, "/_gridcentric/metrics"), "a second clone")
    file.write_text(text + "maxx = 3\n")
    scaled.said(f"keeping the current settings: {file}: unknown setting 'maxx': did you mean 'max'?\n")
    file.write_text(text.replace(f"listen = {listen}", "listen = 1"))
    scaled.said("keeping the current settings: listen cannot change while the program runs: start gc scale anew\n")
    file.write_text(text + "min = 2\nmax = 3\n")
    scaled.said("nothing new")
    scaled.process.send_signal(signal.SIGHUP)
    scaled.said("nothing new", 2)
    assert scaled.end() == 0
