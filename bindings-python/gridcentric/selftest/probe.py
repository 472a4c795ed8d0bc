"""Clones itself and reports each domain's random numbers, names and addresses.

    python probe.py CLONES program|machine [MODULE...]

Prints lines of JSON: {"now": true} (a line of input answers it; the clocks are read between the two), {"vmid": ..., "ns": ...}
for each domain's clock, and {"before": ..., "domains": [...], "repeats": [...]} at the end. Imports the modules first. Runs in
a VM as well as in a process.
"""

import importlib
import json
import os
import random
import secrets
import socket
import ssl
import sys
import time
import uuid
from pathlib import Path
from typing import Optional

from gridcentric import guest

LIMIT_MS = 300_000  # a clone that has not reported by then has failed
SILENCE_S = 30  # a connection that neither carries a byte nor breaks in this time is not cut
SEED = Path("/var/lib/systemd/random-seed")
OF_THE_MACHINE = {
    "machine-id": Path("/etc/machine-id"),
    "boot_id": Path("/proc/sys/kernel/random/boot_id"),
    "mac": Path("/sys/class/net/eth0/address"),
}


def draw() -> dict[str, str]:
    with Path("/dev/urandom").open("rb", buffering=0) as urandom:
        drawn = urandom.read(16)
    return {
        "getrandom": os.getrandom(16).hex(),
        "urandom": drawn.hex(),
        "ssl": ssl.RAND_bytes(16).hex(),
        "random": f"{random.getrandbits(128):032x}",
        "uuid": str(uuid.uuid4()),
        "secrets": secrets.token_hex(),
    }


def look() -> dict[str, object]:
    seen: dict[str, object] = {"vmid": guest.vmid(), "ip": guest.my_ip(), "hostname": socket.gethostname()}
    seen |= {name: path.read_text().strip() for name, path in OF_THE_MACHINE.items() if path.exists()}
    return seen


class Connection:
    """An open connection of which both ends are at the domain's own address."""

    def __init__(self) -> None:
        self.server = socket.create_server((guest.my_ip(), 0))
        self.near = socket.create_connection(self.server.getsockname())
        self.far = self.server.accept()[0]

    def carries(self, word: str) -> Optional[str]:
        """What arrives when the word is sent; None if the connection is cut."""
        self.far.settimeout(SILENCE_S)
        try:
            self.near.sendall(word.encode())
            return self.far.recv(100).decode() or None
        except socket.timeout:  # an OSError; not a TimeoutError in Python 3.9
            return f"nothing for {SILENCE_S} s"
        except OSError:
            return None


def say(**what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


clones, kind = int(sys.argv[1]), sys.argv[2]
for name in sys.argv[3:]:
    importlib.import_module(name)
repeats = [line[6:] for line in guest.explain().report.splitlines() if line.startswith("note: random numbers of ")]
if kind == "machine":
    SEED.parent.mkdir(parents=True, exist_ok=True)
    SEED.write_bytes(secrets.token_bytes(32))  # as on a machine that has been shut down
before = draw()
connection = Connection()
ticket = guest.request_ticket(clones, clones, 1, 1000)
vmid = guest.clone(ticket)
own: dict[str, object] = {
    "drawn": draw(),
    "seen": look(),
    "seed": SEED.read_bytes().hex() if kind == "machine" and SEED.exists() else None,
}
if vmid > 0:
    own["carries"] = connection.carries(f"clone {vmid}")
    guest.sync()
    say(vmid=vmid, ns=time.time_ns())
    guest.join(json.dumps(own))
say(now=True)
sys.stdin.readline()
guest.sync(ticket, LIMIT_MS)
say(vmid=vmid, ns=time.time_ns())
results = guest.wait(ticket, LIMIT_MS)
own["carries"] = connection.carries("master")
domains = [own]
for result in results:
    if result.how != "joined":
        sys.exit(f"clone {result.vmid} ended before its report: {result.how} {result.status}")
    domains.append(json.loads(result.report or b""))
say(before=before, domains=domains, repeats=repeats)
