"""VMs with their own init system, beside which the agent is a service: all that it starts is cloned too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from vms import Family, Vms

from gridcentric.hypervisors.qemu.channel import ChannelError

CLONE = "ticket=$(gc rt 2 2 1 10000); gc clone $ticket > /dev/null;"
END = "if gc ismaster; then gc wait $ticket > /dev/null; else gc join; fi"


def hand_over(machines: Vms, family: Family, init: str) -> None:
    machines.call(family.master.channel.ask("init", init))


@pytest.fixture
def own(machines: Vms) -> Any:
    """A machine of the test's own."""
    family = machines.boot()
    yield family
    family.end(family.master)
    family.until(lambda: 0 in family.codes)


def test_pid_1_is_cloned_with_all_it_has_started(machines: Vms, own: Family) -> None:
    own.run("sh", "-c", "printf '#!/bin/sh\\nwhile :; do sleep 1; done' > /init.sh; chmod 755 /init.sh")
    hand_over(machines, own, "/init.sh")
    asked = "echo $(cat /proc/1/comm) $(cat /proc/1/cgroup) $(cat /proc/self/cgroup) $(gc vmid)"
    for _ in range(2):
        done = own.run("bash", "-c", f"{CLONE} {asked}; {END}")
        assert len(done.clones()) == 2
        for copy in (done.master, *done.clones()):
            assert copy.lines == [f"init.sh 0::/programs/init 0::/programs {copy.vmid}"], done.text()


def test_an_init_that_can_not_be(machines: Vms, own: Family) -> None:
    with pytest.raises(ChannelError, match=r"^the agent could not init: /sbin/nosuch: No such file or directory$"):
        hand_over(machines, own, "/sbin/nosuch")
    own.run("sh", "-c", "printf garbage > /bad; chmod 755 /bad")
    with pytest.raises(ChannelError, match=r"^the agent could not init: /bad: Exec format error$"):
        hand_over(machines, own, "/bad")
    assert own.run("gc", "vmid").master.lines == ["0"]


# A service of systemd's, with an environment that has nothing of the agent's.
UNIT = """
[Service]
ExecStart=/usr/bin/python3 /srv/counter.py
"""
COUNTER = """
import itertools, socket
from gridcentric import guest
server = socket.create_server(("127.0.0.1", 8080))
for n in itertools.count():
    connection, _ = server.accept()
    connection.sendall(f"{n} {guest.vmid()}".encode())
    connection.close()
"""
ASK = """python3 -c 'import socket; print(socket.create_connection(("127.0.0.1", 8080)).makefile().read())'"""


@pytest.mark.full
@pytest.mark.usefixtures("vms")
def test_services_of_systemd_are_cloned(gc: Any, tmp_path: Path) -> None:
    image = gc.image("test-systemd", "systemd-sysv")
    (tmp_path / "counter.py").write_text(COUNTER)
    units = tmp_path / "units"
    (units / "multi-user.target.wants").mkdir(parents=True)
    (units / "counter.service").write_text(UNIT)
    (units / "multi-user.target.wants" / "counter.service").symlink_to("../counter.service")
    script = f"{ASK} > /dev/null; {CLONE} echo $({ASK}) $(gc vmid) $(systemctl is-active counter); {END}"
    done = gc(
        "run", "--hypervisor", "qemu", "--image", image, "--init", "/sbin/init",
        "--copy", f"{units}:/etc/systemd/system", "--copy", f"{tmp_path}/counter.py:/srv/counter.py",
        "--", "bash", "-c", script,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"1 {vmid} {vmid} active" for vmid in range(3)], done.stderr
