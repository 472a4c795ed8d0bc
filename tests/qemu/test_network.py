"""The VMs' network: ports of this machine that lead to the master, and the addresses of clones; with a bridge, and with the
switch that is its substitute where network namespaces are refused."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import shutil
import socket
import threading
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


def test_the_helper_ends_with_its_host_and_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    async def ends() -> None:
        network = Network()
        try:
            await network.start()
        except NetworkError as error:
            pytest.skip(str(error))
        helper = network._process
        assert os.getsid(helper.pid) == helper.pid, "a terminal's Ctrl-C is not for it"
        asyncio.get_running_loop().remove_reader(network._channel)
        network._channel.send(b"1 drop nosuch")
        await readable(network._channel.fileno())  # an answer that nobody hears
        network._channel.close()
        assert helper.wait() == 0

    asyncio.run(ends())
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("vms")
@pytest.mark.parametrize("network", [pytest.param("bridge", marks=pytest.mark.full), "switch"])
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
    assert next(lines, "") == "listening\n", process.stderr.read()
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


def address_of_this_machine() -> str:
    """One that is not its loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent (RFC 5737: nobody is there)
        except OSError:
            pytest.skip("this machine has no address but its loopback's")
        address: str = probe.getsockname()[0]
        return address


# Whether a connection comes about, in the master and in a clone; names: what is asked for names is there.
TRY = """
import socket, sys
for host, port in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    try:
        print(socket.create_connection((host, port), timeout=60).recv(100).decode(), end=" ")
    except OSError:
        print("nobody", end=" ")
print(open("/etc/resolv.conf").read().split())
"""


@pytest.mark.usefixtures("vms")
def test_a_way_out(gc: Any, tmp_path: Path) -> None:
    """Off by default; with it a VM reaches this machine's network, but not its loopback."""
    if shutil.which("slirp4netns") is None:
        pytest.skip("needs Debian's slirp4netns")
    (tmp_path / "try.py").write_text(TRY)
    with socket.create_server((address_of_this_machine(), 0)) as public, socket.create_server(("127.0.0.1", 0)) as private:
        for server in (public, private):
            threading.Thread(target=greet, args=(server,), daemon=True).start()
        places = f"{public.getsockname()[0]} {public.getsockname()[1]} 10.77.255.2 {private.getsockname()[1]}"
        script = (
            f"python3 /try.py {places}; ticket=$(gc rt 1 1 1 10000); gc clone $ticket > /dev/null; python3 /try.py {places};"
            "gc ismaster && gc wait $ticket > /dev/null || gc join"
        )
        words = ("--copy", f"{tmp_path}/try.py:/try.py", "--", "bash", "-c", script)
        done = gc("run", "--hypervisor", "qemu", "--outside", *words)
        assert (done.returncode, done.stdout) == (0, "hello nobody ['nameserver', '10.77.255.3']\n" * 3), done.stderr
        done = gc("run", "--hypervisor", "qemu", *words)
        assert done.stdout.splitlines()[0].startswith("nobody nobody "), done.stdout
    assert gc.processes() == {}


def greet(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            with server.accept()[0] as connection:
                connection.sendall(b"hello")


@pytest.mark.usefixtures("vms")
def test_no_way_out(gc: Any, tmp_path: Path) -> None:
    """Each reason is told."""
    for name in ("qemu-system-x86_64", "python3"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    done = gc("run", "--hypervisor", "qemu", "--outside", "--", "true", PATH=str(tmp_path))
    assert done.returncode == 24
    assert "--outside: there is no slirp4netns on PATH: apt-get install slirp4netns" in done.stderr
    path = f"{gc.folder}/gridcentric.sock"
    host = gc.start("host", "--hypervisor", "qemu", "--socket", path)
    assert host.stdout.readline() == f"listening on unix:{path}\n"
    done = gc("run", "--hypervisor", "qemu", "--outside", "--", "true", GRIDCENTRIC_HOST=f"unix:{path}")
    assert done.returncode == 1
    assert "--outside: this host's VMs have no way out: start it with gc host --hypervisor qemu --outside" in done.stderr
    host.terminate()
    assert host.wait() == 0


@pytest.mark.usefixtures("vms")
def test_connections_to_a_published_port_end_with_the_program(gc: Any) -> None:
    """Also on a host that goes on: who waits for an answer is told that there will be none."""
    path = f"{gc.folder}/gridcentric.sock"
    host = gc.start("host", "--hypervisor", "qemu", "--socket", path)
    assert host.stdout.readline() == f"listening on unix:{path}\n"
    port = free_port()
    serve = (
        "import socket; server = socket.create_server(('', 80)); print('listening', flush=True);"
        "connection, _ = server.accept(); connection.send(b'.'); server.accept()"
    )
    process = gc.machine("python3", "-c", serve, host=f"unix:{path}", publish=f"{port}:80")
    assert process.stdout.readline() == "listening\n"
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        assert connection.recv(1) == b"."
        process.terminate()
        assert process.wait() == 143
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    host.terminate()
    assert host.wait() == 0
