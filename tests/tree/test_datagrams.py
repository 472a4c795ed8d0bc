"""UDP between two processes of a tree, which go on with one another in a clone. GC_REPEAT=N plays each N times."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from from_within import CLONE, FINALLY

repeated = pytest.mark.parametrize("repeat", range(int(os.environ.get("GC_REPEAT", "1"))))

# What waits in either socket is read after the clone.
PAIR = (
    """
import os, socket, subprocess

parent, child = socket.socket(FAMILY, socket.SOCK_DGRAM), socket.socket(FAMILY, socket.SOCK_DGRAM)
parent.bind((ADDRESS, 0)); child.bind((ADDRESS, 0))
to_child = child.getsockname()
CONNECT
for s in (parent, child): s.settimeout(20)
done, tell = os.pipe()
ready, go = os.pipe()
if os.fork() == 0:
    parent.close()
    os.close(tell)
    child.BEFORE_CHILD
    os.write(go, b"x")
    os.read(done, 1)
    heard = b" ".join(child.recv(100) for _ in range(3))
    child.REPLY
    os._exit(0)
child.close()
os.close(done)
os.read(ready, 1)
for text in (b"one", b""): parent.SEND
"""
    + CLONE
    + """
os.close(tell)
text = b"two"
parent.SEND
said = [parent.recv(100), parent.recv(100)]
os.wait()
os.write(1, f"{vmid} {said}\\n".encode())
"""
    + FINALLY
)

CASES = {
    "connected": {
        "CONNECT": "parent.connect(child.getsockname()); child.connect(parent.getsockname())",
        "BEFORE_CHILD": "send(b'early')",
        "REPLY": "send(heard)",
        "SEND": "send(text)",
    },
    "one is connected": {
        "CONNECT": "parent.connect(child.getsockname()); to_parent = parent.getsockname()",
        "BEFORE_CHILD": "sendto(b'early', to_parent)",
        "REPLY": "sendto(heard, to_parent)",
        "SEND": "send(text)",
    },
    "none is connected": {
        "CONNECT": "to_parent = parent.getsockname()",
        "BEFORE_CHILD": "sendto(b'early', to_parent)",
        "REPLY": "sendmsg([heard], [], 0, to_parent)",
        "SEND": "sendto(text, to_child)",
    },
}


@repeated
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("address", "family"), [("127.0.0.1", "AF_INET"), ("::1", "AF_INET6")])
def test_datagrams_between_parent_and_child(tree: Any, case: str, address: str, family: str, repeat: int) -> None:
    text = PAIR.replace("ADDRESS", repr(address)).replace("FAMILY", f"socket.{family}")
    for part, code in CASES[case].items():
        text = text.replace(part, code)
    (tree.folder / "pair.py").write_text(text)
    assert tree.lines(sys.executable, "pair.py") == [f"{vmid} [b'early', b'one  two']" for vmid in range(3)]
