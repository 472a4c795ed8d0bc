"""The address of a clone that has ended refuses connections: its master, which listens on all addresses, never answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HANG_GUARD_S = 150
ROUNDS = int(os.environ.get("GC_REPEAT", "1")) * 3

# The master and its clones answer with their vmids: TCP on `listeners` sockets of one port, and UDP. The master keeps sending
# requests to the clones while they end, one after the other, by themselves or killed.
PROGRAM = r"""
import json, os, socket, sys, threading, time
from gridcentric import guest

family, listeners, how = (socket.AF_INET6 if sys.argv[1] == "tcp6" else socket.AF_INET), int(sys.argv[2]), sys.argv[3]
port = 0
sockets = []
for i in range(listeners):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("", port)); s.listen(256); port = s.getsockname()[1]; sockets.append(s)
udp = socket.socket(family, socket.SOCK_DGRAM); udp.bind(("", 0)); udp_port = udp.getsockname()[1]

def answer(s):
    while True:
        connection, _ = s.accept()
        try: connection.sendall(b"%d" % guest.vmid())
        except OSError: pass
        connection.close()
def echo():
    while True:
        data, peer = udp.recvfrom(100)
        udp.sendto(b"%d" % guest.vmid(), peer)
for s in sockets: threading.Thread(target=answer, args=(s,), daemon=True).start()
threading.Thread(target=echo, daemon=True).start()

ticket = guest.request_ticket(4, 4, 1, 0)
if guest.clone(ticket) > 0:
    guest.sync()
    if how == "exit":
        time.sleep(0.01 * guest.vmid()); os._exit(0)
    threading.Event().wait()
clones = [d for d in guest.list_domains() if d.vmid > 0]
guest.sync(ticket)

def ask(ip):
    with socket.socket() as s:
        s.settimeout(30)
        try:
            s.connect((ip, port)); return s.recv(100).decode() or "end"
        except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError): return "refused"
def send(ip):
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.settimeout(0.3); s.connect((ip, udp_port))
        try: s.send(b"?"); return s.recv(100).decode()
        except (TimeoutError, ConnectionRefusedError): return "refused"

answers = {}
def watch(clone):
    seen = answers[clone.vmid] = []
    for ask_it in ask, send:
        while True:
            said = ask_it(clone.ip)
            if not seen or seen[-1] != said: seen.append(said)
            if said != str(clone.vmid) and said != "end": break
    for _ in range(50): seen.append(ask(clone.ip))
    seen.append(send(clone.ip))
threads = [threading.Thread(target=watch, args=(c,)) for c in clones]
for t in threads: t.start()
if how == "kill":
    for c in clones: time.sleep(0.02); guest.kill(c.vmid)
for t in threads: t.join()
assert ask("127.0.0.1") == "0" and send("127.0.0.1") == "0"
print(json.dumps(answers))
"""


@pytest.mark.parametrize("how", ["kill", "exit"])
@pytest.mark.parametrize("kind,listeners", [("tcp4", 1), ("tcp6", 1), ("tcp4", 3)])
@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_nobody_answers_for_a_clone_that_has_ended(mode: str, kind: str, listeners: int, how: str, tmp_path: Path) -> None:
    for _ in range(ROUNDS):
        environment = {n: v for n, v in os.environ.items() if not n.startswith("GRIDCENTRIC_")}
        environment.update(GRIDCENTRIC_CLONE_MODE=mode, XDG_RUNTIME_DIR=str(tmp_path))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, kind, str(listeners), how], env=environment, capture_output=True, text=True,
            timeout=HANG_GUARD_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        assert sorted(answers) == ["1", "2", "3", "4"]
        for vmid, said in answers.items():
            assert set(said) <= {vmid, "refused", "end"}, answers
            assert said[-2:] == ["refused", "refused"], (vmid, answers)
