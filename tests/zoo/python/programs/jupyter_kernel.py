"""A Jupyter kernel that clones itself in a cell: the notebook's kernel goes on, in pidns mode each clone too."""
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
COLLECT = "print([(result.how, result.report) for result in guest.wait(ticket, 60000)])"


def run(code: str) -> str:
    said = []
    reply = client.execute_interactive(code, timeout=100, output_hook=lambda message: said.append(message["content"]))
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(piece.get("text", "") for piece in said)


manager, client = start_new_kernel(100, extra_arguments=["--log-level=CRITICAL"], env=dict(os.environ))
try:
    assert run(CLONE) == "cloned\n"
    expected = ("joined", b"[42, true]")
    if os.environ["GRIDCENTRIC_CLONE_MODE"] == "plain":  # their parent is another one: the clones end by themselves
        expected = ("exited", None)
    collected = run(COLLECT)
    assert collected == f"{[expected] * CLONES}\n", collected
    assert run("print(guest.vmid(), answer)") == "0 42\n"
finally:
    client.stop_channels()
    manager.shutdown_kernel()
say(f"{CLONES} clones reported")
