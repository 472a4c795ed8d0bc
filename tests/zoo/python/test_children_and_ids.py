"""Children that packages have started, names made of the pid that they keep, and their idle connections, in clones: gevent,
joblib, prometheus_client, pyzmq, requests.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
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


def files_in(folders: Iterable[str]) -> list[str]:
    return sorted(str(file) for folder in folders for file in Path(folder).glob("*"))


def manager_of(parallel: Any) -> Any:
    """What keeps the names of its folders."""
    backend = parallel._backend
    return (backend._workers if hasattr(backend, "_workers") else backend._pool)._temp_folder_manager


def of_joblib(backend: str, results: str) -> list[Any]:
    """Workers read arrays from files in a temporary folder: the master's survives whatever a clone does to its pool."""
    import joblib
    import numpy

    array = numpy.arange(100_000)

    def total(parallel: Any) -> int:
        return int(sum(parallel(joblib.delayed(numpy.sum)(array) for _ in range(2))))

    with joblib.Parallel(2, backend, max_nbytes=1000) as parallel:
        assert total(parallel) == 2 * int(array.sum())
        manager = manager_of(parallel)
        masters = list(manager._cached_temp_folders.values())
        files = files_in(masters)
        assert files
        vmid, ticket = clone_all(3)
        if vmid:
            inherited = list(manager._cached_temp_folders.values())
            failed = raised(lambda: total(parallel))
            with contextlib.suppress(Exception):
                parallel._terminate_backend()
            with joblib.Parallel(2, backend, max_nbytes=1000) as own_parallel:
                own_total = total(own_parallel)
                own = list(manager_of(own_parallel)._cached_temp_folders.values())
                kept = files_in(own) != []
            found = [failed, own_total, kept, files_in(masters) == files, inherited + own]
            Path(results, str(vmid)).write_text(json.dumps(found))
            return []  # its exit handlers run, unlike those of one that joins
        assert [end.how for end in guest.wait(ticket)] == ["exited"] * 3
        clones = [json.loads(file.read_text()) for file in Path(results).glob("[123]")]
        again = total(parallel)
        still = files_in(masters) == files
    folders = [folder for *_, named in clones for folder in named]
    return [again, still, masters + folders, [clone[:4] for clone in clones]]


def raised(call: Callable[[], Any]) -> bool:
    try:
        call()
    except Exception:
        return True
    return False


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_the_folders_of_joblib_stay_the_masters(run: Callable[..., Any], backend: str, tmp_path: Path) -> None:
    total = 2 * sum(range(100_000))
    *found, folders, clones = run(of_joblib, backend, str(tmp_path))
    assert (found, clones) == ([total, True], [[True, total, True, True]] * 3)
    assert len(folders) == len(set(folders))
    while any(map(os.path.exists, folders)):  # joblib's resource tracker may still be at it
        time.sleep(0.05)


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
