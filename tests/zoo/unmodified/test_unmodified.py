"""`gc run` makes programs cloneable that know nothing of it: three clones answer on their own addresses, and write apart.

`-m "not full"`: those of CI. GC_REPEAT=N plays each N times. As root, what is missing is installed; else it is skipped by name.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from services import HANG_GUARD_S, SERVICES, Address, Service

ROOT = Path(__file__).resolve().parents[3]
GC = str(Path(sys.executable).with_name("gc"))
REPEAT = range(int(os.environ.get("GC_REPEAT", "1")))
CALM = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
HERE = "127.0.0.1"


def cases() -> Iterable[object]:
    for name, service in SERVICES.items():
        for mode in ("pidns", "plain"):
            yield pytest.param(service, mode, id=f"{name}-{mode}", marks=[] if service.quick else [pytest.mark.full])


def install(service: Service) -> None:
    if not service.missing:
        return
    if os.geteuid() == 0:
        options = ["-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "install", *options, *service.packages], env=env, check=True, stdout=subprocess.DEVNULL)
    if service.missing:
        pytest.skip(f"not tried: {service.program} is missing (apt install {' '.join(service.packages)})")


def free_port() -> int:
    with socket.create_server((HERE, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(address: Address, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + HANG_GUARD_S
    while True:
        try:
            socket.create_connection(address).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < until, f"does not answer:\n{log.read_text()}"
            time.sleep(0.02)


def gc(*words: str) -> str:
    said = subprocess.run([GC, *words], env=CALM, capture_output=True, text=True, check=False, timeout=HANG_GUARD_S)
    assert said.returncode == 0, said.stderr
    return said.stdout


@contextmanager
def running(command: list[str], mode: str, address: Address, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server under `gc run`; afterwards nothing of its family is left."""
    env = CALM | {"GRIDCENTRIC_CLONE_MODE": mode, "GRIDCENTRIC_ON_MASTER_EXIT": "end"}
    with log.open("wb") as output:
        server = subprocess.Popen([GC, "run", "--", *command], env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        wait_for(address, server, log)
        yield server
    finally:
        pids = [row["pid"] for row in json.loads(gc("ps", "--json")) if row["pid"] is not None and row["pid"] == server.pid]
        if pids:
            gc("end", "--pid", str(server.pid))
        server.kill()
        server.wait()


@pytest.mark.parametrize("repeat", REPEAT)
@pytest.mark.parametrize(("service", "mode"), list(cases()))
def test_three_clones(service: Service, mode: str, repeat: int, tmp_path: Path) -> None:
    install(service)
    master = (HERE, free_port())
    with running(service.command(master[1], tmp_path), mode, master, tmp_path / "log") as server:
        service.fill(master)
        before = service.note(master, "before")
        clones = json.loads(gc("clone", "--of", str(server.pid), "-n", "3", "--json"))
        assert [clone["vmid"] for clone in clones] == [1, 2, 3]
        addresses = [(clone["ip"], master[1]) for clone in clones]
        assert len({*addresses, master}) == 4
        for turn in ("first", "second"):
            for address in (*addresses, master):
                noted = service.note(address, f"{turn}{addresses.index(address) if address != master else 'master'}")
                mine = [word for word in noted[len(before) :] if word != "request"]
                assert len(noted) == len(before) + (1 if turn == "first" else 2), (address, noted)
                assert mine[-1].startswith(turn), (address, noted)
                assert len({word.removeprefix("first").removeprefix("second") for word in mine}) == 1, (address, noted)
        for address in (*addresses, master):
            service.check(address)


@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_clones_are_ordered_too(mode: str, tmp_path: Path) -> None:
    """A clone of a clone, by the process of the first."""
    service = SERVICES["perl"]
    master = (HERE, free_port())
    with running(service.command(master[1], tmp_path), mode, master, tmp_path / "log") as server:
        service.note(master, "a")
        gc("clone", "--of", str(server.pid), "-n", "1")
        rows = [row for row in json.loads(gc("ps", "--json")) if row["pid"] == server.pid or row["parent"] == 0]
        family = next(row["family"] for row in rows if row["pid"] == server.pid)
        (clone,) = [row for row in rows if row["family"] == family and row["vmid"] == 1]
        assert service.note((clone["ip"], master[1]), "b") == ["a", "b"]
        (grandchild,) = json.loads(gc("clone", "--of", str(clone["pid"]), "-n", "1", "--json"))
        assert service.note((grandchild["ip"], master[1]), "c") == ["a", "b", "c"]
        assert service.note(master, "d") == ["a", "d"]


def test_each_line_of_the_document_is_played() -> None:
    text = (ROOT / "docs" / "clone-anything.md").read_text()
    table = text[text.index("## What works") : text.index("## Shell scripts")]
    assert re.findall(r"^\| (\w+) \|", table, re.M)[1:] == list(SERVICES)
