"""ZeroMQ in pidns mode: its sockets go on in each clone. In plain mode it takes a clone for a fork(), which explain() says."""

import os

import zmq
from harness import background, family, own_address, say

from gridcentric import guest

context = zmq.Context(2)
outer, inner = context.socket(zmq.REP), context.socket(zmq.REP)
port = outer.bind_to_random_port("tcp://0.0.0.0")
inner.bind("inproc://who")


def serve(socket: zmq.Socket) -> None:
    while True:
        socket.recv()
        socket.send(b"%d" % guest.vmid())


def asking(address: str) -> zmq.Socket:
    socket = context.socket(zmq.REQ)
    socket.setsockopt(zmq.RCVTIMEO, 60_000)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(address)
    return socket


def ask(socket: zmq.Socket) -> int:
    socket.send(b"?")
    return int(socket.recv())


for socket in (outer, inner):
    background(lambda socket=socket: serve(socket))
inherited = asking("inproc://who")
assert ask(inherited) == 0


if os.environ["GRIDCENTRIC_CLONE_MODE"] == "plain":
    report = guest.explain().report
    assert "zmq" in report, report
    say("refused")
    os._exit(0)


def work(vmid: int) -> list[int]:
    return [ask(inherited), ask(asking(f"tcp://{own_address()}:{port}"))]


master, clones = family(work)
assert [master, *clones] == [[vmid, vmid] for vmid in range(4)], (master, clones)
os._exit(0)  # its sockets are open
