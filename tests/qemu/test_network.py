"""The VMs' network: ports of this machine that lead to the master, and the addresses of clones; with a bridge, and with the
switch that is its substitute where network namespaces are refused."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from vms import under_limit

from gridcentric.hypervisors.qemu.network import Network, NetworkError
from gridcentric.hypervisors.qemu.streams import readable

HERE = Path(__file__).parent


def ask(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_who_looked_for_a_machine_too_early_finds_it_when_it_is_plugged() -> None:
    """The first frame that its network card sees is the connection's, for its MAC, and no question for that."""
    ip, mac = "10.77.0.9", "52:54:0a:4d:00:09"

    async def first_frame() -> bytes:
        network = Network()
        try:
            await network.start()
        except NetworkError as error:
            pytest.skip(str(error))
        if network.substitute:
            network.close()
            pytest.skip(network.substitute)
        other, tap = await network.tap("other"), await network.tap("early")
        await network.plug("other", "10.77.0.8", "52:54:0a:4d:00:08")  # a bridge with nothing on it leads nowhere
        connecting = asyncio.create_task(network.connect(ip, 80))
        await asyncio.sleep(0.2)  # mostly it has asked in vain by then; the outcome is the same when it has not
        await network.plug("early", ip, mac)
        await readable(tap)
        frame = os.read(tap, 65536)[10:]  # behind virtio's header
        os.close(tap)
        os.close(other)
        network.close()
        connecting.cancel()
        return frame

    frame = asyncio.run(first_frame())
    assert frame[:6].hex(":") == mac
    assert frame[12:14] == b"\x08\x00", "IPv4"
    assert frame[23] == socket.IPPROTO_TCP
    assert socket.inet_ntoa(frame[30:34]) == ip


@pytest.mark.usefixtures("vms")
@pytest.mark.parametrize("network", ["bridge", "switch"])
def test_published_ports_and_addresses_of_clones(gc: Any, network: str) -> None:
    if network == "switch":
        gc.prefix = under_limit("net", 0)
    port = free_port()
    process = gc.start(
        "run", "--hypervisor", "qemu", "--publish", f"{port}:80", "--publish", f"{free_port()}:81",
        "--copy", f"{HERE}/server.py:/root/server.py", "--copy", f"{HERE}/network.sh:/root/network.sh",
        "--", "bash", "network.sh",
    )  # fmt: skip
    lines = iter(process.stdout)
    assert next(lines) == "listening\n"
    assert ask(port) == "master 1\n"
    assert ask(port) == "master 2\n"

    def say(word: str) -> None:
        process.stdin.write(f"{word}\n")
        process.stdin.flush()

    say("clone")
    said = []
    for line in lines:
        if line == "cloned\n":
            break
        said.append(line.strip())
    # A clone's count goes on from what it inherited; that of the master is the master's alone.
    assert said[:2] == ["from master: clone1 3", "from master: clone2 3"]
    assert len(said) == 4, said
    for vmid, line in zip((1, 2), sorted(said[2:])):
        words = line.split()
        assert (words[0], words[1], words[4]) == (str(vmid), "joined:", "master")
    # The port leads to the master, not to a clone that has its memory of a network card.
    assert ask(port) == "master 5\n"
    say("end")
    assert process.wait() == 0
    told = "the VMs' network is a slow one: no network namespace for the VMs (" in process.stderr.read()
    assert told == (network == "switch")
    with pytest.raises(ConnectionRefusedError):
        ask(port)
