"""Plain TCP in front of a real program: who gets a connection, what is passed on, how one ends, whose lines are whose."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from pathlib import Path
from typing import Any

from scaled import Client, metrics, state, until


def test_connections_go_to_the_clone_with_the_fewest_and_stay_there(service: Any) -> None:
    made = service("lines.py", "--protocol", "tcp", "--per-clone", "1", "--min", "3", "--max", "3")
    made.scaled.ready()
    clients = [Client(made.listen) for _ in range(6)]
    homes = [client.ask("where") for client in clients]
    assert len(set(homes[:3])) == 3
    assert sorted(homes) == sorted(homes[:3] * 2)
    # What one clone counts the others do not.
    assert [client.ask("visit") for client in clients] == [str(1 + homes[:n].count(home)) for n, home in enumerate(homes)]
    shown = metrics(made.admin)
    assert sum(value for name, value in shown.items() if name.startswith("gridcentric_clone_connections")) == 6
    clients[0].close()
    until(lambda: sum(clone["users"] for clone in state(made.admin)["clones"]) == 5, "the connection's end")
    assert Client(made.listen).ask("where") == homes[0]
    assert made.scaled.end() == 0


def test_bytes_ends_and_resets_are_passed_on(service: Any) -> None:
    made = service("lines.py", "--protocol", "tcp", "--per-clone", "10")
    made.scaled.ready()
    # The end of one direction alone.
    client = Client(made.listen)
    client.socket.sendall(b"nothing\n" * 100)
    client.socket.shutdown(socket.SHUT_WR)
    assert (client.line(), client.line()) == ("received 800", "")
    # One who does not read holds up the program, not the proxy's memory.
    slow = Client(made.listen)
    slow.socket.sendall(b"big 64\n")
    assert Client(made.listen).ask("visit") == "1"
    resident = int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{made.scaled.process.pid}/status").read_text())[0])
    assert resident < 200_000
    received, end = 0, b""
    while received < (64 << 20) + len(b".\n"):
        data = slow.socket.recv(1 << 20)
        received, end = received + len(data), (end + data)[-2:]
    assert end == b".\n"
    # A client that is gone, and one that resets, leave nothing.
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    slow.close()
    client.close()
    until(lambda: state(made.admin)["users"] == 0, "the end of all")


def test_a_clones_death_ends_its_connections_alone(service: Any) -> None:
    made = service("lines.py", "--protocol", "tcp", "--per-clone", "1", "--min", "2", "--max", "2")
    made.scaled.ready()
    first, second = Client(made.listen), Client(made.listen)
    homes = [first.ask("where"), second.ask("where")]
    idle = Client(made.listen)
    assert idle.ask("where") == homes[0]
    assert first.ask("die 3") == ""
    assert idle.line() == ""
    assert second.ask("where") == homes[1]
    made.scaled.said("clone 1 has ended")
    until(lambda: len(state(made.admin)["clones"]) == 2, "another clone")
    assert {Client(made.listen).ask("where"), Client(made.listen).ask("where")} - {homes[1]}
    assert metrics(made.admin)["gridcentric_clones_ended_total"] == 1


def test_a_drained_clone_gets_nobody_new_and_ends_when_its_last_has_left(service: Any) -> None:
    words = ("--protocol", "tcp", "--per-clone", "1", "--max", "3", "--drain", "100ms", "--drain-limit", "never")
    made = service("lines.py", *words)
    made.scaled.ready()
    clients = [Client(made.listen) for _ in range(3)]
    homes = [client.ask("where") for client in clients]
    assert len(set(homes)) == 3
    clients[0].close()
    made.scaled.said("gets nobody new and is drained")
    until(lambda: len(state(made.admin)["clones"]) == 2, "the end of one")
    assert [client.ask("where") for client in clients[1:]] == homes[1:]


def test_lines_are_marked_with_the_vmid(service: Any) -> None:
    made = service("lines.py", "--protocol", "tcp", "--per-clone", "1", "--min", "2", "--max", "2")
    made.scaled.ready()
    clients = [Client(made.listen), Client(made.listen)]
    for number, client in enumerate(clients, 1):
        for count in range(50):
            assert client.ask(f"say {number} says {count}") == "said"
        assert client.ask(f"child {number} has a child") == "said"
    assert made.scaled.end() == 0
    lines = made.scaled.out.splitlines()
    assert lines[0] == "ready"  # the master's
    for number in (1, 2):
        assert [line for line in lines if line.startswith(f"[{number}]")] == [
            f"[{number}] {number} says {count}" for count in range(50)
        ]
        # A child that has ended by the time its line is read can't be told apart.
        assert re.search(rf"^\[[{number}?]\] {number} has a child$", made.scaled.err, re.M), made.scaled.err
    assert len(lines) == 101


def test_plain_output_is_as_the_program_writes_it(service: Any) -> None:
    made = service("lines.py", "--protocol", "tcp", "--per-clone", "1", "--logs", "plain")
    made.scaled.ready()
    assert Client(made.listen).ask("say hello") == "said"
    assert made.scaled.end() == 0
    assert made.scaled.out == "ready\nhello\n"


def test_many_clients_at_once(service: Any) -> None:
    made = service("lines.py", "--protocol", "tcp", "--per-clone", "10", "--min", "2", "--max", "4")
    made.scaled.ready()
    wrong: list[str] = []

    def talk(number: int) -> None:
        client = Client(made.listen)
        home = client.ask("where")
        for _ in range(20):
            if client.ask("where") != home:
                wrong.append(f"client {number} moved")
        client.close()

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    until(lambda: state(made.admin)["users"] == 0, "the end of all")
    assert len(os.listdir(f"/proc/{made.scaled.process.pid}/fd")) < 40
