"""Whole sandboxes fork: scripts of shells, Node, servers; clones of clones; many at once; one after the other."""

from __future__ import annotations

import json
import re
import shutil
import socket
import time

import pytest
from sandboxes import HANG_GUARD_S, REPEAT, Sandbox


def lines(sandbox: Sandbox, mode: str, *words: str) -> list[str]:
    said = sandbox.run(*words, mode=mode)
    assert (said.returncode, said.stderr) == (0, ""), said
    return sorted(said.stdout.splitlines())


def needs(program: str) -> str:
    if not shutil.which(program):
        pytest.skip(f"not tried: {program} is missing")
    return program


SCRIPT = """
echo start >> f; rm gone; exec 7>> log; echo before >&7; mkdir inside; cd inside
ticket=$(gc rt 3 3 1 5000)
vmid=$(gc clone $ticket)
echo own >&7; echo $vmid >> ../f; echo $vmid > mine$vmid
if gc ismaster; then gc sync $ticket; else gc sync; fi
echo "$vmid: $(cat ../f | tr '\\n' ' ')| $(cat ../log | tr '\\n' ' ')| $(echo *) | $(echo ../*)"
if gc ismaster; then gc wait $ticket > /dev/null; else gc join noreport; fi
"""


@pytest.mark.parametrize("repeat", REPEAT)
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_script(shell: str, repeat: int, mode: str, sandbox: Sandbox) -> None:
    sandbox.has(f="real\n", gone="", script=SCRIPT)
    before = sandbox.contents()
    assert lines(sandbox, mode, needs(shell), "script") == [
        f"{vmid}: real start {vmid} | before own | mine{vmid} | ../f ../inside ../log ../script" for vmid in range(4)
    ]
    assert sandbox.contents() == before


def test_output_of_the_script_is_everybodys_and_its_files_are_not(mode: str, sandbox: Sandbox) -> None:
    """What the script writes to standard output goes where that was outside; a file that it has opened itself is its own."""
    sandbox.has(
        script="""
exec 3>&1 > out; echo before
ticket=$(gc rt 2 2 1 5000); gc clone $ticket > vmid
echo after $(cat vmid); cat out >&3
if gc ismaster; then gc wait $ticket > /dev/null; else gc join noreport; fi
"""
    )
    assert lines(sandbox, mode, "bash", "script") == sorted(["before", "after 0", "before", "after 1", "before", "after 2"])


def test_branches_of_one_sandbox(mode: str, sandbox: Sandbox) -> None:
    """Ten, one after the other, while the sandbox goes on."""
    sandbox.has(
        script="""
for branch in 1 2 3 4 5 6 7 8 9 10; do
  echo $branch >> history
  ticket=$(gc rt 1 1 1 5000); gc clone $ticket > /dev/null
  if ! gc ismaster; then
    rm -f base; echo $branch > only$branch; gc sync
    echo "$branch: $(cat history | tr '\\n' ' ')$(echo only* base*)"; gc join noreport
  fi
  tickets="$tickets $ticket"
done
for ticket in $(echo $tickets | tr ' ' '\\n' | grep -v ticket); do gc sync $ticket; done
for ticket in $(echo $tickets | tr ' ' '\\n' | grep -v ticket); do gc wait $ticket > /dev/null; done
echo "master: $(echo only* base*)"
""",
        base="",
    )
    expected = [f"{n}: {' '.join(map(str, range(1, n + 1)))} only{n} base*" for n in range(1, 11)]
    assert lines(sandbox, mode, "bash", "script") == sorted([*expected, "master: only* base"])


def test_a_clone_clones(mode: str, sandbox: Sandbox) -> None:
    sandbox.has(
        script="""
generation() { cat line 2> /dev/null | tr '\\n' ' '; }
for depth in 1 2 3; do
  ticket=$(gc rt 1 1 1 5000); vmid=$(gc clone $ticket)
  echo $vmid >> line
  if [ $vmid = 0 ]; then
    gc wait $ticket > /dev/null; echo "depth $depth: $(generation)"
    [ $(gc vmid) = 0 ] || gc join noreport
    exit
  fi
done
echo "last: $(generation)"; gc join noreport
"""
    )
    assert lines(sandbox, mode, "bash", "script") == ["depth 1: 0 ", "depth 2: 1 0 ", "depth 3: 1 2 0 ", "last: 1 2 3 "]


def test_ten_at_once(mode: str, sandbox: Sandbox) -> None:
    sandbox.has(
        script="""
head -c 300000 /dev/zero > large; ticket=$(gc rt 10 10 1 5000); vmid=$(gc clone $ticket)
printf $vmid >> large; rm f
if gc ismaster; then gc sync $ticket; else gc sync; fi
echo "$(tail -c 2 large | tr -d '\\0') $(wc -c < large) $(ls | tr '\\n' ' ')"
if gc ismaster; then gc wait $ticket > /dev/null; else gc join noreport; fi
""",
        f="",
    )
    assert lines(sandbox, mode, "bash", "script") == sorted(
        f"{vmid} {300000 + len(str(vmid))} large script " for vmid in range(11)
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listening(port: int, address: str = "127.0.0.1") -> socket.socket:
    for _ in range(1000):
        try:
            return socket.create_connection((address, port), timeout=30)
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError(f"nobody listens on {address}:{port}")


def ask(port: int, address: str, *commands: str) -> str:
    with listening(port, address) as connection:
        connection.sendall("".join(command + "\r\n" for command in [*commands, "quit"]).encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_redis_saves_in_its_own_folder(mode: str, sandbox: Sandbox) -> None:
    """One real server that writes its data: each clone has its own dump, the real folder none."""
    port = free_port()
    words = [needs("redis-server"), "--port", str(port), "--dir", ".", "--daemonize", "no", "--save", "", "--appendonly", "no"]
    server = sandbox.start(*words, mode=mode)
    try:
        assert "OK" in ask(port, "127.0.0.1", "set common 1", "save")
        made = sandbox.gc("clone", "--of", str(server.pid), "-n", "3")
        assert (made.returncode, made.stderr) == (0, "")
        clones = [line.split()[1:] for line in made.stdout.splitlines()]
        assert len(clones) == 3
        for vmid, address in [*clones, ["0", "127.0.0.1"]]:
            answer = ask(port, address, f"set own{vmid} {vmid}", "save", "keys own*")
            assert re.findall(r"own\d", answer) == [f"own{vmid}"], answer
        rows = json.loads(sandbox.gc("ps", "--json").stdout)
        (family,) = {row["family"] for row in rows if row["pid"] == server.pid}
        pids = [row["pid"] for row in rows if row["family"] == family]
        assert len(pids) == 4
        for pid in pids:
            changed = sandbox.gc("diff", str(pid))
            assert changed.stdout == f"A {sandbox.folder}/dump.rdb\n", changed
    finally:
        sandbox.gc("end", "--pid", str(server.pid))
        server.communicate(timeout=HANG_GUARD_S)
    assert sandbox.contents() == {}


NODE = """
const fs = require('fs');
const log = fs.openSync('log', 'a+');
require('net').createServer((socket) => socket.on('data', (text) => {
  fs.writeSync(log, text.toString().split('\\r\\n')[0] + ' ');
  fs.writeFileSync('last', fs.readFileSync('log'));
  socket.end(fs.readFileSync('last'));
})).listen(Number(process.argv[2]));
"""


def test_a_server_in_node(mode: str, sandbox: Sandbox) -> None:
    needs("node")
    port = free_port()
    sandbox.has(**{"server.js": NODE})
    server = sandbox.start("node", "server.js", str(port), mode=mode)
    try:
        assert ask(port, "127.0.0.1", "common") == "common "
        made = sandbox.gc("clone", "--of", str(server.pid), "-n", "2")
        assert (made.returncode, made.stderr) == (0, "")
        addresses = [line.split()[2] for line in made.stdout.splitlines()]
        for address in [*addresses, "127.0.0.1"]:
            assert ask(port, address, address) == f"common {address} "
    finally:
        sandbox.gc("end", "--pid", str(server.pid))
        server.communicate(timeout=HANG_GUARD_S)
    assert sandbox.contents() == {"server.js": NODE}
