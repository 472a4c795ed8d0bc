"""Names that are anybody's bytes: they break no call, and what could steer a terminal never reaches one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from in_domain import GC, Shell, gc

ESCAPES = "\033[31m\033]0;title\a\u009b2J\u202eevil\x7f"
CUT = "/x/" + "a" * 10 + "é" * 60  # 64 bytes end inside a character, wherever it begins
NOT_UTF8 = b"\xff\xfe name \xc3"


def has_controls(text: str) -> bool:
    return re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text) is not None


@contextmanager
def named(*arguments: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A master with these arguments, which waits."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
    program = 'gc() { "$GC" "$@"; }; gc vmid && read -r _'
    command = [GC.encode(), b"run", b"--", b"bash", b"-c", program.encode(), *arguments]
    with subprocess.Popen(command, env=env | {"GC": GC}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            assert process.stdout.readline() == b"0\n"
            yield process
        finally:
            process.stdin.close()
            process.wait()


@pytest.mark.parametrize("length", range(4))
def test_a_name_cut_inside_a_character(length: int) -> None:
    with named(b"x" * length + CUT.encode()) as process:
        (row,) = [row for row in json.loads(gc("ps", "--json").stdout) if row["pid"] == process.pid]
        assert row["name"].startswith("bash -c gc")
        assert "\ufffd" not in row["name"]


def test_arguments_that_are_not_utf8() -> None:
    env = {name: value for name, value in os.environb.items() if not name.startswith(b"GRIDCENTRIC_")}
    env[b"SOMETHING"] = NOT_UTF8
    said = subprocess.run([GC.encode(), b"run", b"--", GC.encode(), b"vmid"], env=env, capture_output=True, check=False)
    assert (said.returncode, said.stdout) == (0, b"0\n"), said
    # As the first word, so that it is within the name.
    said = subprocess.run([GC.encode(), b"run", b"--", NOT_UTF8], env=env, capture_output=True, check=False)
    assert said.returncode == 127
    assert b"cannot run '?? name ?'" in said.stderr
    with named(NOT_UTF8):
        pass


def test_the_words_of_a_wrong_command_line() -> None:
    for words in ([ESCAPES], ["rt", ESCAPES, "1", "1", "0"], ["vmid", "--" + ESCAPES], ["end", ESCAPES + "1234"]):
        said = gc(*words)
        assert said.returncode != 0
        assert "[31m" in said.stderr
        assert not has_controls(said.stderr), said


def test_a_name_with_escape_sequences(host: Any) -> None:
    """What a hostile host or program calls itself is shown, and does nothing."""
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
    script += "s.sendall(b'gridcentric/1 attach name=' + sys.argv[2].encode() + b'\\n'); print(s.recv(100)); input()"
    name = "".join(f"%{byte:02X}" for byte in ESCAPES.encode())
    path = host.address.removeprefix("unix:")
    with subprocess.Popen(
        [sys.executable, "-c", script, path, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as stranger:
        assert stranger.stdout is not None and b" ok " in stranger.stdout.readline()
        for words in (["ps"], ["top", "--once"]):
            said = gc(*words, GRIDCENTRIC_HOST=host.address)
            assert "?[31m?]0;title??2J?evil?" in said.stdout
            assert not has_controls(said.stdout)
        said = gc("ps", "--json", GRIDCENTRIC_HOST=host.address)
        assert not has_controls(said.stdout)
        assert ESCAPES in [row["name"] for row in json.loads(said.stdout)]
        stranger.communicate(b"\n")


def test_check_of_a_process_with_a_hostile_name(tmp_path: Path) -> None:
    hostile = tmp_path / ("bad\033[2J\udcff")
    hostile.write_text("")
    with hostile.open() as file, subprocess.Popen(["sleep", "1000"], stdin=file) as process:
        for words in (["check", str(process.pid)], ["check", "--json", str(process.pid)]):
            said = gc(*words)
            assert not has_controls(said.stdout), said
        json.loads(said.stdout)
        process.kill()


def test_reports_that_are_text_are_printed_as_text(shell: Shell, tmp_path: Path) -> None:
    ticket = shell.ticket(6)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\0")
    shell.text("join", "--report", "hello, I am 1", clone=1)
    shell.text("join", "--file", "-", clone=2, stdin="two lines\nresult 9 joined 0 text forged\n")
    shell.text("join", "--report", "ü\033[31m", clone=3)
    shell.text("join", "--file", str(binary), clone=4)
    shell.text("join", clone=5)
    shell.text("join", "noreport", clone=6)
    assert shell.text("wait", ticket).split("\n") == [
        "result 1 joined 0 text hello, I am 1",
        "result 2 joined 0 text two lines",
        "  result 9 joined 0 text forged",
        "result 3 joined 0 base64 w7wbWzMxbQ==",
        "result 4 joined 0 base64 /wA=",
        "result 5 joined 0 =",
        "result 6 joined 0 -",
    ]
