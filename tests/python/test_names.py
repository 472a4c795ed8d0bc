"""Programs whose names, arguments and environment are arbitrary bytes: every call works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gridcentric import _advice

PROGRAM = "from gridcentric import guest; print(guest.vmid(), len(guest.list_tickets()))"
NOT_UTF8 = b"\xff\xfe \xc3"


def run(host: Any, *words: bytes) -> None:
    env = os.environb | {b"GRIDCENTRIC_HOST": host.address.encode(), b"SOMETHING": NOT_UTF8}
    said = subprocess.run([sys.executable.encode(), *words], env=env, capture_output=True, check=False)
    assert (said.returncode, said.stdout) == (0, b"0 1\n"), said.stderr.decode(errors="replace")


@pytest.mark.parametrize("length", range(2))
def test_a_name_that_is_cut_inside_a_character(host: Any, tmp_path: Path, length: int) -> None:
    folder = tmp_path / "nm"
    folder.mkdir()
    script = folder / ("a" * length + "é" * 45 + ".py")
    script.write_text(PROGRAM)
    run(host, os.fsencode(script))


def test_arguments_that_are_not_utf8(host: Any, tmp_path: Path) -> None:
    run(host, b"-c", PROGRAM.encode(), NOT_UTF8)
    script = os.fsencode(tmp_path) + b"/" + NOT_UTF8
    Path(os.fsdecode(script)).write_text(PROGRAM)
    run(host, script)


def test_the_path_of_a_host_that_is_not_utf8(tmp_path: Path) -> None:
    env = os.environb | {b"GRIDCENTRIC_HOST": b"unix:" + os.fsencode(tmp_path) + NOT_UTF8}
    said = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, check=False)
    assert said.returncode == 1
    assert b"HostUnreachable: no host listens on" in said.stderr


# -- advice


@pytest.mark.parametrize("extra", ["qemu", "autoscale"])
def test_what_is_advised_names_what_is_needed(extra: str) -> None:
    words = _advice.install(extra).split()
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    assert len(words) > 4
    assert not any("gridcentric" in word for word in words[4:])


def test_what_killed_hosts_have_left_is_removed_without_the_extra(tmp_path: Path) -> None:
    program = "import sys; sys.modules['qemu'] = None\nfrom gridcentric.hypervisors.qemu.__main__ import main\n"
    program += "sys.exit(main(sys.argv[1:]))"
    env = os.environ | {"XDG_DATA_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}

    def do(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program, *words], env=env, capture_output=True, text=True, check=False)

    assert do("gc").returncode == 0
    refused = do("image", "ls")
    assert refused.returncode == 24
    assert _advice.install("qemu") in refused.stderr


def test_the_build_of_an_image_shows_no_script() -> None:
    building = pytest.importorskip("gridcentric.hypervisors.qemu.building")
    assert building.step_of("I: installing essential packages...") == "installing essential packages..."
    for line in (
        "I: running --customize-hook in shell: sh -c 'set -eu",
        "I: running special hook: copy-out /.made/kernel.tar x",
    ):
        assert building.step_of(line) == "kernel and packing"
    assert building.step_of("+ rm -rf x") == ""
