"""A host that is out of descriptors says so before anything is cloned."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from family import HANG_GUARD_S

PROGRAM = """
import json, os, sys
from gridcentric import CloneFailed, guest
fewest, most = int(sys.argv[1]), int(sys.argv[2])
said = []
try:
    ticket = guest.request_ticket(most, fewest, 1, 0)
    said.append(guest.ticket_info(ticket).vms)
    if guest.clone(ticket):
        assert guest.list_domains()
        guest.join("here")
    said += [[result.how, result.report.decode()] for result in guest.wait(ticket)]
except CloneFailed as error:
    said.append(str(error))
print(json.dumps([said, len(guest.list_domains())]))
"""


@contextlib.contextmanager
def host_of(descriptors: int, folder: Path) -> Iterator[str]:
    """The socket of a process host whose limit of open descriptors is this number."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
    command = ["gc", "host", "--socket", str(folder / "host.sock"), "--cpus", "2000"]
    limited = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(descriptors), *command]
    process = subprocess.Popen(limited, env=environment, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        try:
            yield line.split()[-1]
        finally:
            process.terminate()
        assert process.wait(HANG_GUARD_S) == 0


def run(address: str, fewest: int, most: int) -> tuple[list[Any], int]:
    """What the program printed, and how many domains its family has at the end."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(fewest), str(most)], env={**os.environ, "GRIDCENTRIC_HOST": address},
        capture_output=True, text=True, timeout=HANG_GUARD_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, domains = json.loads(done.stdout)
    return said, domains


def check(said: list[Any], fewest: int) -> bool:
    """Either the host refused the ticket because of its descriptors, or all clones lived and reported. True: the latter."""
    if isinstance(said[0], str):
        assert len(said) == 1 and "descriptors" in said[0] and "ulimit -n" in said[0], said
        return False
    assert said[0] >= fewest and said[1:] == [["joined", "here"]] * said[0], said
    return True


def test_every_limit_lets_clones_live_or_refuses_their_ticket(tmp_path: Path) -> None:
    lived = []
    for limit in range(16, 44):
        with host_of(limit, tmp_path) as address:
            said, domains = run(address, 4, 4)
            assert domains == 1
            lived.append(check(said, 4))
    assert not lived[0] and lived[-1] and lived == sorted(lived), lived


def test_hundreds_of_clones_are_refused_or_fewer_are_granted(tmp_path: Path) -> None:
    with host_of(1024, tmp_path) as address:
        said, domains = run(address, 350, 350)
        assert not check(said, 350) and domains == 1
        said, domains = run(address, 1, 350)
        assert check(said, 200) and domains == 1, "a ticket that accepts fewer clones gets as many as there is room for"


def test_room_is_promised_once(tmp_path: Path) -> None:
    program = """
import sys
from gridcentric import CloneFailed, guest
granted, refused = [], ""
while not refused:
    try:
        granted.append(guest.request_ticket(16, 16, 1, 0))
    except CloneFailed as error:
        refused = str(error)
assert "16 clones" not in refused.split("promised")[0] and f"{16 * len(granted)} clones are promised" in refused, refused
guest.release_ticket(granted.pop())
granted.append(guest.request_ticket(16, 16, 1, 0))
for ticket in granted:
    if guest.clone(ticket):
        guest.sync()
        guest.join("here")
for ticket in granted:
    guest.sync(ticket)
print(sum(result.report == b"here" for ticket in granted for result in guest.wait(ticket)), 16 * len(granted))
"""
    with host_of(256, tmp_path) as address:
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "GRIDCENTRIC_HOST": address},
            capture_output=True, text=True, timeout=HANG_GUARD_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lived, promised = map(int, done.stdout.split())
        assert lived == promised >= 32


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_names_that_another_user_has_taken_stop_nobody(tmp_path: Path) -> None:
    squatter = """
import os, socket, sys
os.setuid(65534)
taken = []
for block in range(256):
    taken.append(socket.socket(socket.AF_UNIX))
    try:
        taken[-1].bind(f"\\0gridcentric-net-127.77.{block}")
    except OSError:
        continue  # an address that a host of this computer holds
print("taken", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", squatter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "taken\n"
        with host_of(1024, tmp_path) as address:
            said, _ = run(address, 4, 4)
            assert check(said, 4)
        assert process.stdin is not None
        process.stdin.close()


REPORTS = """
import os, sys
from pathlib import Path
from gridcentric import NoSuchTicket, TooLarge, guest

MIB = bytes(1 << 20)
host = Path("/proc") / dict(line.split(" ", 1) for line in sys.stdin)["pid"].strip()

def resident():
    return int(next(line for line in (host / "status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

def round_of(clones):
    ticket = guest.request_ticket(clones, clones, 1, 0)
    if guest.clone(ticket):
        try:
            guest.join(MIB)
        except TooLarge as error:
            assert "are kept" in str(error)
            guest.join()
    return ticket

def whole(results):
    return sum(result.report == MIB for result in results)

for number in range(40):
    assert whole(guest.wait(round_of(4), forget=True)) == 4
    if number == 4:
        begin = resident()
print(f"after 160 MiB that were forgotten {resident() - begin:.0f} MiB more", file=sys.stderr)
assert resident() < begin + 16

tickets = [round_of(4) for _ in range(40)]
assert [whole(guest.wait(ticket)) for ticket in tickets[-32:]] == [4] * 32
for ticket in tickets[:8]:
    try:
        guest.wait(ticket)
    except NoSuchTicket as error:
        assert "128 MiB" in str(error)
    else:
        raise AssertionError("more is kept than 128 MiB")
print(f"with 128 MiB that are kept {resident() - begin:.0f} MiB more", file=sys.stderr)
assert resident() < begin + 2 * 128

ticket = round_of(140)
results = guest.wait(ticket, forget=True)
assert (whole(results), len(results)) == (128, 140), "what is kept can be read"
assert len(guest.list_tickets()) == 1, "closed tickets made room"
print(f"after they were forgotten {resident() - begin:.0f} MiB more", file=sys.stderr)
assert resident() < begin + 32
"""


def test_reports_of_a_family_take_a_bounded_part_of_the_host(tmp_path: Path) -> None:
    with host_of(4096, tmp_path) as address:
        info = subprocess.run(
            ["gc", "host", "--info"], env={**os.environ, "GRIDCENTRIC_HOST": address}, stdout=subprocess.PIPE, check=True
        )
        done = subprocess.run(
            [sys.executable, "-c", REPORTS], env={**os.environ, "GRIDCENTRIC_HOST": address}, input=info.stdout,
            stderr=subprocess.PIPE, timeout=HANG_GUARD_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
