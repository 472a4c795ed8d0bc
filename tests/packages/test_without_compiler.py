"""Both packages on a Debian that has Python, Node and npm and no compiler: installed by an ordinary user, and cloned with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import Machine, root

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines need root")

PYTHON_CLONE = """
from gridcentric import guest
ticket = guest.request_ticket(2, 2, 1, 1000)
if guest.clone(ticket):
    guest.join(f"hello from {guest.vmid()}")
print([result.report.decode() for result in guest.wait(ticket)])
"""
NODE_CLONE = """
const gridcentric = require('gridcentric');
gridcentric.request_ticket(2, 2, 1, 1000, (ticket) => gridcentric.clone(ticket, (vmid) => {
  if (vmid > 0) gridcentric.join(`hello from ${vmid}`);
  else gridcentric.wait(ticket).then((ends) => console.log(ends.map(({ report }) => `${report}`)));
}));
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(root("bookworm", "python3-venv", "nodejs", "npm"), user="ada") as made:
        assert made.run("sh", "-c", "command -v cc gcc g++ c++ clang make", check=False).stdout == ""
        yield made


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the wheel is for this Python, and Debian 12 has 3.11")
def test_pip(machine: Machine, wheel: Path) -> None:
    machine.put(wheel, f"/home/ada/{wheel.name}")
    machine.run("python3", "-m", "venv", "venv")
    machine.run("venv/bin/pip", "install", "--quiet", wheel.name)
    said = machine.run("venv/bin/python", "-c", PYTHON_CLONE).stdout
    assert said == "['hello from 1', 'hello from 2']\n"
    assert machine.run("venv/bin/gc", "run", "--", "sh", "-c", "gc vmid").stdout == "0\n"


def test_npm(machine: Machine, tarball: Path) -> None:
    machine.put(tarball, f"/home/ada/{tarball.name}")
    machine.run("mkdir", "project")
    machine.run("npm", "install", f"../{tarball.name}", folder="/home/ada/project")
    said = machine.run("node", "-e", NODE_CLONE, folder="/home/ada/project").stdout
    assert said == "[ 'hello from 1', 'hello from 2' ]\n"
    assert machine.run("project/node_modules/.bin/gc", "run", "--", "sh", "-c", "gc vmid").stdout == "0\n"
    assert machine.run("sh", "-c", "ls -d project/node_modules/gridcentric/build", check=False).returncode != 0
