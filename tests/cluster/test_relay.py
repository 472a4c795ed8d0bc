"""VMs' connections to the host from other computers, and what clones start from as an object: without Ray and without VMs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gridcentric.hypervisors.qemu import ram
from gridcentric.hypervisors.ray import packing, relay
from gridcentric.hypervisors.ray.link import Listener, dial

SECRET = b"r" * 32
HELLO = b"gridcentric/1 as 0b9d 3 key="


def through_a_door(tmp_path: Path, said: bytes, uid: int) -> tuple[list[bytes], bytes]:
    """What the host hears, and what the VM's side does, when that connects to its computer's door and says this."""
    heard: list[bytes] = []

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.write(b"ok\n")
        writer.close()

    async def main() -> bytes:
        server = await asyncio.start_unix_server(host, str(tmp_path / "host"))

        async def serve(purpose: str, sock: socket.socket) -> None:
            assert purpose == relay.PURPOSE
            await relay.answer(sock.dup(), str(tmp_path / "host"), "the-key")

        listener = Listener(SECRET, serve)
        where = listener.start("127.0.0.1")
        door = relay.Door(str(tmp_path / "door"), uid, lambda: dial(where, SECRET, relay.PURPOSE))
        await door.open()
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "door"))
        writer.write(said)
        answer = b""
        with contextlib.suppress(ConnectionError):  # turned away before it was heard
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        await door.close()
        await listener.close()
        server.close()
        return answer

    return heard, asyncio.run(main())


def test_the_hosts_key_is_added_where_the_host_is(tmp_path: Path) -> None:
    heard, answer = through_a_door(tmp_path, HELLO + b"\n1 vmid\n", os.geteuid())
    assert heard == [HELLO + b"the-key\n1 vmid\n"]
    assert answer == b"ok\n"


@pytest.mark.parametrize(
    "said", [b"gridcentric/1 control\n", HELLO + b"mine\n", b"gridcentric/1 as a b key=\n", b"", b"x" * 99999]
)
def test_nothing_else_gets_the_key(tmp_path: Path, said: bytes) -> None:
    assert through_a_door(tmp_path, said, os.geteuid()) == ([], b"")


def test_a_door_is_for_its_user(tmp_path: Path) -> None:
    assert through_a_door(tmp_path, HELLO + b"\n", os.geteuid() + 1) == ([], b"")


def test_what_clones_start_from_comes_as_it_was() -> None:
    size = 96 << 20
    memory, state = ram.create(size), ram.create(0)
    for at in (0, 40 << 20, size - 4096):
        os.pwrite(memory, os.urandom(4096), at)
    os.pwrite(state, b"device state", 0)
    buffers: list[pickle.PickleBuffer] = []
    packed = packing.pack(memory, size, state)
    data = pickle.dumps(packed, protocol=5, buffer_callback=buffers.append)
    assert len(data) < 10_000 and sum(len(buffer.raw()) for buffer in buffers) < 1 << 20, "its holes are not sent"
    there = packing.unpack(pickle.loads(data, buffers=buffers))
    assert os.fstat(there[0]).st_size == size
    for at in (0, 40 << 20, 60 << 20, size - 4096):
        assert os.pread(there[0], 4096, at) == os.pread(memory, 4096, at)
    assert os.pread(there[1], 99, 0) == b"device state"
    for fd in (memory, state, *there):
        os.close(fd)


def test_a_folder_that_others_can_enter_is_told(tmp_path: Path) -> None:
    inside = tmp_path / "ray" / "session"
    inside.mkdir(parents=True)
    tmp_path.chmod(0o755)
    if packing.kept_private_by(tmp_path):
        pytest.skip("the folder of this test is in one that nobody else can enter")
    inside.chmod(0o777)
    assert packing.kept_private_by(inside) == ""
    (tmp_path / "ray").chmod(0o700)
    assert packing.kept_private_by(inside) == str(tmp_path / "ray")


def test_without_ray_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('not installed', name='ray')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "gridcentric.hypervisors", "ray", "host", "--socket", str(tmp_path / "s")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 24, done
    assert "the ray hypervisor needs the Python package" in done.stderr
    assert "pip install" in done.stderr and "ray<3,>=2.60" in done.stderr
