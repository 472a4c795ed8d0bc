"""TCP connections between two processes of a tree, which a clone has anew. GC_REPEAT=N plays each N times."""

from __future__ import annotations

import os
import sys
import urllib.request
from typing import Any

import pytest
from from_outside import clone_of, end, needs, until
from from_within import CLONE, FINALLY

repeated = pytest.mark.parametrize("repeat", range(int(os.environ.get("GC_REPEAT", "1"))))

# The child serves. What waits in either end is read after the clone.
PAIR = (
    """
import os, socket, subprocess

listener = socket.create_server((ADDRESS, 0), family=FAMILY)
client = socket.socket(FAMILY)
client.connect(listener.getsockname()[:2])
server, _ = listener.accept()
done, tell = os.pipe()
ready, go = os.pipe()
heard, answer = os.pipe()
def read_all(stream):
    text = b""
    while part := stream.recv(65536):
        text += part
    return text
if os.fork() == 0:
    client.close()
    os.close(tell)
    CHILD_BEFORE
    os.write(go, b"x")
    os.read(done, 1)
    CHILD_AFTER
    os._exit(0)
server.close()
os.close(done)
os.read(ready, 1)
PARENT_BEFORE
"""
    + CLONE
    + """
os.close(tell)
client.settimeout(20)
PARENT_AFTER
os.write(1, f"{vmid} {said}\\n".encode())
"""
    + FINALLY
)

FILL = """
    server.setblocking(False)
    try:
        while True: server.send(b'x' * 10000)
    except BlockingIOError: pass
    server.setblocking(True)"""
CASES = {
    "nothing under way": {
        "CHILD_AFTER": "server.sendall(server.recv(5) + b' back')",
        "PARENT_AFTER": "client.sendall(b'hello'); said = read_all(client).decode()",
        "said": "hello back",
    },
    "bytes in both directions": {
        "CHILD_BEFORE": "server.sendall(b'from child')",
        "PARENT_BEFORE": "client.sendall(b'from parent'); client.recv(1, socket.MSG_PEEK)",
        "CHILD_AFTER": "server.sendall(server.recv(100)); server.close()",
        "PARENT_AFTER": "said = read_all(client).decode()",
        "said": "from childfrom parent",
    },
    "more than a window": {
        "CHILD_BEFORE": FILL,
        "CHILD_AFTER": "server.sendall(b'end'); server.close()",
        "PARENT_AFTER": "text = read_all(client); said = text == b'x' * (len(text) - 3) + b'end' and len(text) > 200000",
        "said": "True",
    },
    "the child's half is shut": {
        "CHILD_BEFORE": "server.sendall(b'last words'); server.shutdown(socket.SHUT_WR)",
        "CHILD_AFTER": "os.write(answer, server.recv(100))",
        "PARENT_AFTER": "text = read_all(client); client.sendall(b' heard'); said = (text + os.read(heard, 100)).decode()",
        "said": "last words heard",
    },
    "the parent's half is shut": {
        "PARENT_BEFORE": "client.sendall(b'question'); client.shutdown(socket.SHUT_WR)",
        "CHILD_AFTER": "server.sendall(read_all(server) + b' answered')",
        "PARENT_AFTER": "said = read_all(client).decode()",
        "said": "question answered",
    },
}


@repeated
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("address", "family"), [("127.0.0.1", "AF_INET"), ("::1", "AF_INET6")])
def test_a_connection_between_parent_and_child(tree: Any, case: str, address: str, family: str, repeat: int) -> None:
    text = PAIR.replace("ADDRESS", repr(address)).replace("FAMILY", f"socket.{family}")
    for part in ("CHILD_BEFORE", "CHILD_AFTER", "PARENT_BEFORE", "PARENT_AFTER"):
        text = text.replace(part, CASES[case].get(part, ""))
    (tree.folder / "pair.py").write_text(text)
    assert tree.lines(sys.executable, "pair.py") == [f"{vmid} {CASES[case]['said']}" for vmid in range(3)]


REDIS = (
    """
import os, socket, subprocess, sys, time

port = int(sys.argv[1])
server = subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
def connect():
    end = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 20)
        except OSError:
            if time.monotonic() > end: raise
            time.sleep(0.05)
def ask(stream, *words):
    stream.sendall(b"*%d\\r\\n" % len(words) + b"".join(b"$%d\\r\\n%s\\r\\n" % (len(w), w.encode()) for w in words))
    return stream.recv(1000).decode().split("\\r\\n")[-2]
one, two = connect(), connect()
ask(one, "set", "who", "all")
two.sendall(b"PING\\r\\n")  # is answered before, and read after the clone
"""
    + CLONE
    + """
pong = two.recv(100).decode().strip()
before = ask(one, "get", "who")
ask(one, "append", "who", "-" + vmid)
time.sleep(0.2)
said = ask(two, "get", "who")
again = ask(connect(), "get", "who")
server.terminate()
os.write(1, f"{vmid} {pong} {before} {said} {again} {server.wait()}\\n".encode())
"""
    + FINALLY
)


@repeated
@needs("redis-server")
def test_redis_and_its_client(tree: Any, free_port: int, repeat: int) -> None:
    """Also by a connection that is made in the clone: 127.0.0.1 is the clone's own there."""
    (tree.folder / "client.py").write_text(REDIS)
    said = tree.lines(sys.executable, "client.py", str(free_port))
    assert said == [f"{vmid} +PONG all all-{vmid} all-{vmid} 0" for vmid in range(3)]


COUNTER = """
count = 0

def app(environ, start_response):
    global count
    count += 1
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(count).encode()]
"""


@repeated
@needs("nginx")
def test_nginx_in_front_of_gunicorn(tree: Any, free_ports: tuple[int, int], repeat: int) -> None:
    """Each clone's proxy asks its own application, by the connections that it keeps and by new ones."""
    port, behind = free_ports
    (tree.folder / "counter.py").write_text(COUNTER)
    (tree.folder / "nginx.conf").write_text(f"""
        daemon off; {"user root;" if os.geteuid() == 0 else ""} worker_processes 1; pid {tree.folder}/pid;
        error_log {tree.folder}/error.log; events {{}}
        http {{ access_log off; client_body_temp_path {tree.folder}/b; proxy_temp_path {tree.folder}/p;
          fastcgi_temp_path {tree.folder}/f; uwsgi_temp_path {tree.folder}/u; scgi_temp_path {tree.folder}/s;
          upstream app {{ server 127.0.0.1:{behind}; keepalive 4; }}
          server {{ listen {port}; location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}""")
    (tree.folder / "script").write_text(f"""
        trap 'kill $(jobs -p); wait; exit' TERM
        {sys.executable} -m gunicorn -k gthread --threads 2 --keep-alive 60 --bind 127.0.0.1:{behind} counter:app 2> log &
        nginx -c {tree.folder}/nginx.conf 2>> log &
        wait""")
    master = tree.start("bash", "script")

    def ask(address: str) -> int:
        with urllib.request.urlopen(f"http://{address}:{port}/", timeout=20) as answer:
            return int(answer.read())

    until(lambda: ask("127.0.0.1"))
    first = ask("127.0.0.1")
    domains = ["127.0.0.1", *clone_of(master.pid, 2, tree.environment)]
    for number in range(1, 21):
        assert [ask(address) for address in domains] == [first + number] * 3
    end(master, tree.environment)
