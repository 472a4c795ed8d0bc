"""Children that packages have started, names made of the pid that they keep, and their idle connections, in clones: gevent,
prometheus_client, pyzmq, requests.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from conftest import run
from family import clone_all, reports

from gridcentric import guest

__all__ = ["run"]


def of_gevent(patched: bool) -> list[Any]:
    if patched:
        from gevent import monkey

        monkey.patch_all()
    import gevent
    from gevent import os as gevent_os
    from gevent.subprocess import PIPE, Popen

    def spawn(stdin: int = PIPE) -> Any:
        return Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=stdin, stdout=PIPE)

    read, write = os.pipe()  # communicate() would close one of its own
    polled, killed, waited, talked = *(spawn() for _ in range(3)), spawn(read)
    waiting, talking = gevent.spawn(waited.wait), gevent.spawn(talked.communicate)
    gevent.sleep(0)
    vmid, ticket = clone_all(2)
    if vmid:
        found = [polled.poll(), polled.pid]
        killed.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(killed.pid, signal.SIGKILL)
        found += [killed.wait(), waiting.get(), talking.get()[0].decode(), talked.returncode]
        own = spawn()
        still = own.poll()
        own.kill()
        guest.join(json.dumps([*found, still, own.wait(), gevent_os.waitpid(own.pid, os.WNOHANG)[1]]))
    clones = reports(ticket)
    still = [child.poll() for child in (polled, killed, waited, talked)]
    for child in (polled, killed, waited):
        child.stdin.close()
    os.close(write)
    return [still, [child.wait() for child in (polled, killed, waited, talked)], waiting.get(), clones]


@pytest.mark.parametrize("patched", [False, True])
def test_children_of_gevent_have_ended(run: Callable[..., Any], patched: bool) -> None:
    still, ends, waited, clones = run(of_gevent, patched)
    assert (still, ends, waited) == ([None] * 4, [0] * 4, 0)
    assert clones == [[-9, 2**31 - 1, -9, -9, "", -9, None, -9, 9]] * 2


def prometheus(folder: str) -> list[Any]:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    from prometheus_client import CollectorRegistry, Counter, multiprocess

    counter = Counter("counted", "by all domains")
    counter.inc(5)

    def total() -> Any:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return registry.get_sample_value("counted_total")

    vmid, ticket = clone_all(3)
    for _ in range(100):
        counter.inc()
    if vmid:
        second, inner = clone_all(1)
        counter.inc()
        if not second:
            reports(inner)
        guest.join(b"1")
    reports(ticket)
    return [total(), sorted(name.rpartition("-")[2] for name in os.listdir(folder) if "-" in name)]


def test_prometheus_counts_in_files_of_each_clone(run: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    assert run(prometheus, str(folder)) == [5 + 4 * 100 + 6, [f"{vmid}.db" for vmid in range(1, 7)]]


def explained() -> str:
    import zmq  # noqa: F401

    return guest.explain().report


def test_what_remembers_the_pid_is_named_in_plain_mode_only(run: Callable[..., Any], request: pytest.FixtureRequest) -> None:
    mode = request.node.callspec.params["run"]
    report = run(explained)
    assert f"(mode {mode}," in report
    assert ("note: pyzmq: " in report) == (mode == "plain")


SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def requested() -> list[Any]:
    import requests

    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}/"
    session = requests.Session()
    assert session.get(url).text == "ok"
    vmid, ticket = clone_all(2)
    found = [session.get(url).text, session.get(url).text]
    if vmid:
        guest.join(json.dumps(found))
    clones = reports(ticket)
    server.kill()
    server.wait()
    return [found, *clones]


def test_the_first_request_of_an_idle_session_works(run: Callable[..., Any]) -> None:
    assert run(requested) == [["ok", "ok"]] * 3
