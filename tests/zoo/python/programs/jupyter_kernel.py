"""A Jupyter kernel that clones itself in a cell: the notebook's kernel goes on, and each clone until it joins."""
# zoo: full

import os

from harness import CLONES, say
from jupyter_client.manager import start_new_kernel

CLONE = f"""
import json, os, time
from gridcentric import guest
answer, parent = 6 * 7, os.getppid()
ticket = guest.request_ticket({CLONES}, {CLONES}, 1, 0)
if guest.clone(ticket):
    time.sleep(3)  # a kernel looks after its parent each second
    guest.join(json.dumps([answer, os.getppid() == parent]))
print("cloned")
"""
COLLECT = "print([(result.how, result.report.decode()) for result in guest.wait(ticket, 60000)])"


def run(code: str) -> str:
    said = []
    reply = client.execute_interactive(code, timeout=100, output_hook=lambda message: said.append(message["content"]))
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(piece.get("text", "") for piece in said)


manager, client = start_new_kernel(extra_arguments=["--log-level=CRITICAL"], env=dict(os.environ))
try:
    assert run(CLONE) == "cloned\n"
    plain = os.environ["GRIDCENTRIC_CLONE_MODE"] == "plain"
    collected = run(COLLECT)
    assert collected == f"{[('joined', '[42, true]')] * CLONES}\n" or (plain and collected.count("joined") == CLONES), collected
    assert run("print(guest.vmid(), answer)") == "0 42\n"
finally:
    client.stop_channels()
    manager.shutdown_kernel()
say(f"{CLONES} clones reported")
