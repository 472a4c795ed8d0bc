"""Many connections of a VM's processes to the host: what is too much is ended, and the VM is unharmed."""

from __future__ import annotations

import json

import pytest
from vms import Family

from gridcentric.hypervisors.qemu.channel import MAX_CONNECTIONS

HOG = """import json, resource, socket, subprocess, sys
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
many = [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[1]))]
for one in many:
    one.connect("/run/gridcentric/host.sock")
    one.sendall(b"gridcentric/1 ask\\n")
answers = [one.makefile().readline()[:16] for one in many]
ticket = subprocess.run(["gc", "rt", "1", "1", "1", "10000"], capture_output=True, text=True)
clone = subprocess.run(["gc", "clone", ticket.stdout.strip()], capture_output=True, text=True)
heard = [answers.count(answer) for answer in ("gridcentric/1 ok", "")]
print(json.dumps([limits, heard, clone.stdout.strip(), ticket.stderr or clone.stderr]), flush=True)
if clone.stdout.strip() == "0":
    many.clear()
    del one
    subprocess.run(["gc", "wait", ticket.stdout.strip()])
"""


def test_as_many_as_there_may_be(family: Family) -> None:
    """A clone can be made of it, too."""
    most = MAX_CONNECTIONS - 10
    done = family.run("python3", "-c", HOG, str(most))
    (clone,) = done.clones()
    assert [json.loads(copy.lines[0]) for copy in (done.master, clone)] == [
        [[1024, 4096], [most, 0], vmid, ""] for vmid in ("0", str(clone.vmid))
    ]


@pytest.mark.full
def test_more_than_there_may_be(family: Family) -> None:
    program = family.start("python3", "-c", HOG, "3000")
    family.until(lambda: program.master.code is not None)
    _, (heard, ended), clone, said = json.loads(program.master.lines[0])
    assert (heard + ended, clone) == (3000, "")
    assert 0 < heard < MAX_CONNECTIONS
    assert "hung up" in said
    assert family.run("gc", "vmid").master.lines == ["0"]
