"""A server that listens on 127.0.0.1 is reached at the address of its machine, and of each clone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from vms import HANG_GUARD_S, PROGRAMS, Family, Vms

from gridcentric.hypervisors.qemu.network import NetworkError

PORT = 8000


def test_a_server_on_loopback_is_reached_in_master_and_clones(machines: Vms, family: Family) -> None:
    network = machines.host.machines.network

    def ask(ip: str, words: str = "who", port: int = PORT) -> str:
        with machines.call(network.connect(ip, port)) as connection:
            connection.settimeout(HANG_GUARD_S)
            connection.sendall(f"{words}\n".encode())
            return "" if words == "end" else connection.makefile().read()

    family.copy(PROGRAMS / "loopback.py", "/root/loopback.py")
    program = family.start("python3", "loopback.py", given=None)
    family.until(lambda: len(program.master.lines) == 1)
    assert program.master.lines == ["here 0 0 0 0"]
    master = family.master.ip
    with pytest.raises(NetworkError, match="refused"):
        ask(master, port=PORT + 1)  # only localhost itself is opened

    cloned = threading.Event()

    def keep_asking() -> set[str]:
        heard = {ask(master)}
        while not cloned.is_set():
            heard.add(ask(master))
        return heard

    with ThreadPoolExecutor() as pool:
        heard = pool.submit(keep_asking)
        family.give(program, b"clone\n")
        family.until(lambda: len(program.master.lines) == 2)
        cloned.set()
        assert heard.result() == {"0"}, "the master answers while it is cloned"

    clones = [word.split("@") for word in program.master.lines[1].split()[1:]]
    assert len(clones) == 2
    everybody = [["0", master], *clones]
    for _, ip in everybody:
        assert ask(ip) == next(vmid for vmid, other in everybody if other == ip)
        for vmid, other in everybody:
            assert ask(ip, f"ask {other}") == vmid
    for _, ip in clones:
        ask(ip, "end")
    family.until(lambda: program.master.code is not None and not family.clones())
    assert program.master.code == 0, program.text()
