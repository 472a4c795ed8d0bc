"""The README's commands on a computer that has nothing: Debian's minbase, git and make.

GC_FRESH chooses: SUITE root|user, as the session `fresh` does. Nothing of this computer but its network is there; what is
committed is what is tested. The tests are steps of one walk through the README, in this order.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from machines import Machine, Started, root

ROOT = Path(__file__).resolve().parents[2]
SUITE, USER = os.environ.get("GC_FRESH", "trixie root").split()
ADVICE = re.compile(r"^    (apt-get update && apt-get install .*)$", re.M)
CHAT, DASHBOARD = (re.compile(rf"{what} at +(http://\S+)") for what in ("the chat", "the dashboard"))
# No step takes this long unless it hangs.
HANG_GUARD_S = 6 * 3600

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines need root")


def example(language: str) -> str:
    """The longest of the README's examples in a language."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    longest: str = max(blocks, key=len)
    return longest


def do(machine: Machine, script: str, folder: str = "") -> str:
    """Run a shell script in the checkout, or in a folder of the home."""
    where = f"{machine.home}/{folder or 'gridcentric'}"
    return machine.run("bash", "-c", script, folder=where, timeout=HANG_GUARD_S).stdout


def make(machine: Machine, *words: str) -> None:
    """`make` brings what is missing, or names one line that does."""
    folder = f"{machine.home}/gridcentric"
    first = machine.run("make", *words, folder=folder, check=machine.user is None, timeout=HANG_GUARD_S)
    if first.returncode == 0:
        return
    advice = ADVICE.search(first.stdout)
    assert advice, first.stdout
    print(f"as root: {advice[1]}")
    machine.run("sh", "-c", advice[1], as_root=True, env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=HANG_GUARD_S)
    machine.run("make", *words, folder=folder, timeout=HANG_GUARD_S)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(root(SUITE, "git", "make"), user="ada" if USER == "user" else None) as fresh:
        fresh.put_checkout(ROOT, f"{fresh.home}/gridcentric")
        yield fresh


@pytest.fixture(scope="module")
def built(machine: Machine) -> Machine:
    make(machine, "build")
    return machine


def test_make_build_brings_the_command(built: Machine) -> None:
    version = (ROOT / "VERSION").read_text().strip()
    assert do(built, ".venv/bin/gc --version") == f"gc (gridcentric) {version}\n"


def test_a_second_make_has_nothing_to_do(built: Machine) -> None:
    assert "building:" not in do(built, "make build")


@pytest.mark.parametrize(("language", "program", "command"), [
    ("js", "example.js", "node example.js"),
    ("python", "example.py", ".venv/bin/python example.py"),
])  # fmt: skip
def test_the_example_clones(built: Machine, language: str, program: str, command: str) -> None:
    do(built, f"cat >{program} <<'END'\n{example(language)}\nEND")
    lines = do(built, command).splitlines()
    if language == "js":
        assert lines == [f"vmid {k}, visit 42" for k in range(4)]
    else:
        assert [line.split(":")[0] for line in lines] == [*(f"vmid {k} joined" for k in (1, 2, 3, 4)), "master"]


def test_the_example_in_c(built: Machine) -> None:
    do(built, f"cat >example.c <<'END'\n{example('c')}\nEND")
    flags = do(built, ".venv/bin/python -m gridcentric --cflags --libs").strip()
    lines = do(built, f"gcc -Wall -Wextra -Werror example.c -o example {flags} && ./example").splitlines()
    assert lines[-1] == "hello, I am the master of 4"
    assert len(lines) == 5


def free_port() -> int:
    """One whose neighbour is free too, as demos/run takes both. The kernel gives neither to somebody else meanwhile."""
    given_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(1024, given_from - 1)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            text: str = answer.read().decode()
            return text
    except (urllib.error.URLError, OSError):
        return ""


def answered(demo: Started, output: IO[bytes], address: re.Pattern[str]) -> None:
    """Until there is a page at the address that the demo has said."""
    while True:
        said = os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")  # the demo writes where we would read
        assert demo.poll() is None, said
        where = address.search(said)
        if where and "<title>" in page(where[1]):
            return
        time.sleep(0.2)


def demonstrate(machine: Machine, *words: str) -> None:
    """`make demo` answers, and Ctrl-C ends it with all that it has started."""
    with tempfile.TemporaryFile() as output:
        demo = machine.start("make", "demo", *words, folder=f"{machine.home}/gridcentric", output=output)
        answered(demo, output, CHAT)
        answered(demo, output, DASHBOARD)
        demo.signal(signal.SIGINT)
        assert demo.wait(HANG_GUARD_S) != 0
    while left := machine.processes():  # a reaper may still be on its way out
        print("still there:", left)
        time.sleep(0.1)


@pytest.mark.parametrize("app", ["node", "python"])
def test_make_demo_until_ctrl_c(built: Machine, app: str) -> None:
    demonstrate(built, f"PORT={free_port()}", f"APP={app}", "CROWD=2")


def test_npm_install_of_the_folder_from_another_project(built: Machine) -> None:
    do(built, "mkdir project && echo '{\"private\":true}' >project/package.json", ".")
    do(built, "npm install ../gridcentric/bindings-node", "project")
    program = "console.log(require('gridcentric').vmid(), typeof require('gridcentric/autoscale').setup)"
    assert do(built, f'node -e "{program}"', "project") == "0 function\n"
    assert do(built, "node_modules/.bin/gc --version", "project").startswith("gc (gridcentric)")


@pytest.mark.skipif(not os.environ.get("GC_FRESH_ALL"), reason="minutes more: nox -s fresh -- SUITE USER all")
def test_what_make_test_needs_is_brought(built: Machine) -> None:
    """The set-up of make test and a session that uses it."""
    if built.user:
        first = built.run("scripts/bootstrap", "--test", folder=f"{built.home}/gridcentric", check=False)
        advice = ADVICE.search(first.stdout)
        assert advice, first.stdout
        built.run("sh", "-c", advice[1], as_root=True, env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=HANG_GUARD_S)
    do(built, "scripts/bootstrap --test && .venv/bin/nox -s lint")


@pytest.mark.skipif(not os.environ.get("GC_FRESH_ALL"), reason="minutes more: nox -s fresh -- SUITE USER all")
def test_make_demo_with_vms(built: Machine) -> None:
    """What it needs is brought or named, an image is built, a VM boots and answers."""
    make(built, "build", "HYPERVISOR=qemu")
    demonstrate(built, f"PORT={free_port()}", "HYPERVISOR=qemu")
