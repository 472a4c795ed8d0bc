"""A process that never calls clone(): it looks at who it is again and again, until its input ends; then it says what it saw.

The name of the machine is changed by the agent before any program goes on in a clone, so the two must never disagree.
"""

import json
import random
import select
import socket
import sys
import uuid

from gridcentric import guest

handled = []
guest.on_clone(lambda vmid: handled.append([vmid, guest.vmid()]))


def name_of(vmid: int) -> str:
    return f"clone{vmid}" if vmid else "master"


looks, wrong, seen = 0, [], []
print("ready", guest.vmid(), flush=True)
while not select.select([sys.stdin], [], [], 0.001)[0]:
    before, vmid, ip, again, after = socket.gethostname(), guest.vmid(), guest.my_ip(), guest.vmid(), socket.gethostname()
    looks += 1
    if before == after and before != name_of(vmid):
        wrong.append([before, vmid])
    if vmid == again and (not seen or seen[-1] != [vmid, ip]):
        seen.append([vmid, ip])
report = {"looks": looks, "wrong": wrong, "seen": seen, "handled": handled}
report |= {"random": random.random(), "uuid": str(uuid.uuid4())}
print(json.dumps(report), flush=True)
