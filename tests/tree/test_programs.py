"""Programs with children, as people run them, cloned from outside or from within. GC_REPEAT=N plays each N times."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from from_outside import clone_of, end, get, needs, until
from from_within import CLONE, FINALLY

repeated = pytest.mark.parametrize("repeat", range(int(os.environ.get("GC_REPEAT", "1"))))
ROOT = Path(__file__).resolve().parents[2]


WORKERS = (
    """
import multiprocessing, os, signal, subprocess, sys

def work(tasks, results, total):
    while (number := tasks.get()) is not None:
        with total.get_lock():
            total.value += number
        results.put((os.getpid(), os.getppid(), number))
    sys.exit(5)

context = multiprocessing.get_context("fork")
tasks, results, total = context.Queue(), context.Queue(), context.Value("i", 0)
workers = [context.Process(target=work, args=(tasks, results, total)) for _ in range(3)]
for worker in workers:
    worker.start()
for number in range(10):
    tasks.put(number)
first = [results.get()[2] for _ in range(10)]
"""
    + CLONE
    + """
for number in range(100):
    tasks.put(1)
got = [results.get() for _ in range(100)]
known = {pid for pid, _, _ in got} <= {worker.pid for worker in workers}
parents = {parent for _, parent, _ in got} == {os.getpid()}
for _ in workers:
    tasks.put(None)
for worker in workers:
    worker.join()
exits = [worker.exitcode for worker in workers]
os.write(1, f"{vmid} {sum(first)} {total.value} {known} {parents} {exits}\\n".encode())  # at once: others write too
"""
    + FINALLY
)


@repeated
def test_workers_of_multiprocessing(tree: Any, repeat: int) -> None:
    """Queues (pipes and semaphores in shared memory), a shared value, pids, parents, exit codes."""
    (tree.folder / "workers.py").write_text(WORKERS)
    said = tree.lines(sys.executable, "workers.py")
    assert said == [f"{vmid} 45 145 True True [5, 5, 5]" for vmid in range(3)]


SESSION = (
    """
import os, signal, subprocess

leader = subprocess.Popen(["sh", "-c", "sleep 300 & echo; wait"], stdout=subprocess.PIPE, start_new_session=True)
leader.stdout.readline()
"""
    + CLONE
    + """
leads = os.getpgid(leader.pid) == leader.pid
os.killpg(leader.pid, signal.SIGTERM)
closed = leader.stdout.read() == b""  # by sleep too
os.write(1, f"{vmid} {leads} {leader.wait()} {closed}\\n".encode())
"""
    + FINALLY
)


@repeated
def test_a_child_that_leads_a_session(tree: Any, repeat: int) -> None:
    """A signal to its group reaches its own child as well, and nobody in another domain."""
    (tree.folder / "session.py").write_text(SESSION)
    assert tree.lines(sys.executable, "session.py") == [f"{vmid} True -15 True" for vmid in range(3)]


PIPES = (
    """
import os, subprocess, sys, threading

child = subprocess.Popen([sys.executable, "-uc", "import sys\\nfor line in sys.stdin: print(len(line), flush=True)"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def ask(text):
    print(text, file=child.stdin, flush=True)
    return child.stdout.readline().strip()

before = ask("12345")
"""
    + CLONE
    + """
answers = [ask("x" * n) for n in range(50)]
ended = child.poll()
child.stdin.close()
right = answers == [str(n + 1) for n in range(50)]
os.write(1, f"{vmid} {before} {right} {ended} {child.wait()}\\n".encode())
"""
    + FINALLY
)


@repeated
def test_a_child_behind_pipes(tree: Any, repeat: int) -> None:
    (tree.folder / "pipes.py").write_text(PIPES)
    assert tree.lines(sys.executable, "pipes.py") == [f"{vmid} 6 True None 0" for vmid in range(3)]


NODE = """
const { fork, spawn } = require('node:child_process');
const gridcentric = require('gridcentric');
if (process.argv[2] === 'child') {
  process.on('message', (n) => process.send({ n: n + 1, pid: process.pid, parent: process.ppid }));
  process.on('disconnect', () => process.exit(4));
  return;
}
const child = fork(__filename, ['child']);
const cat = spawn('cat');
let echoed = '';
cat.stdout.on('data', (text) => (echoed += text));
const ask = (n) => new Promise((resolve) => { child.once('message', resolve); child.send(n); });
const end = (process) => new Promise((resolve) => process.once('exit', (code, signal) => resolve(code ?? signal)));
(async () => {
  await ask(1);
  cat.stdin.write('before ');
  while (!echoed) await new Promise((go) => setTimeout(go, 5));
  const ticket = await gridcentric.request_ticket(2, 2, 1, 5000);
  const vmid = await gridcentric.clone(ticket);
  let right = true;
  for (let n = 0; n < 50; n++) {
    const answer = await ask(n);
    right &&= answer.n === n + 1 && answer.pid === child.pid && answer.parent === process.pid;
  }
  const ends = Promise.all([end(child), end(cat)]);
  child.disconnect();
  cat.stdin.end('after');
  const codes = await ends;
  console.log(vmid, right, echoed, ...codes);
  if (vmid === 0) await gridcentric.wait(ticket);
})();
"""


@repeated
@needs("node")
def test_children_of_node(tree: Any, repeat: int) -> None:
    """A channel (a Unix socket pair), pipes, 'exit' events."""
    (tree.folder / "parent.js").write_text(NODE)
    (tree.folder / "node_modules").symlink_to(ROOT / "node_modules")
    assert tree.lines("node", "parent.js") == [f"{vmid} true before after 4 0" for vmid in range(3)]


@repeated
@needs("nginx")
def test_nginx_with_workers(tree: Any, free_port: int, repeat: int) -> None:
    (tree.folder / "nginx.conf").write_text(f"""
        daemon off; {"user root;" if os.geteuid() == 0 else ""} worker_processes 2; pid {tree.folder}/pid;
        error_log {tree.folder}/error.log; events {{}}
        http {{ access_log off; client_body_temp_path {tree.folder}/b; proxy_temp_path {tree.folder}/p;
          fastcgi_temp_path {tree.folder}/f; uwsgi_temp_path {tree.folder}/u; scgi_temp_path {tree.folder}/s;
          server {{ listen {free_port}; location / {{ return 200 "$pid"; }} }} }}""")
    nginx = tree.start("nginx", "-c", str(tree.folder / "nginx.conf"))
    until(lambda: get("127.0.0.1", free_port))
    addresses = clone_of(nginx.pid, 3, tree.environment)
    assert all(get(address, free_port) for address in addresses for _ in range(20))
    end(nginx, tree.environment)


SERVER = """
import os

def app(environ, start_response):
    start_response('200 OK', [])
    return [str(os.getpid()).encode()]
"""


@repeated
def test_gunicorn_with_workers(tree: Any, free_port: int, repeat: int) -> None:
    (tree.folder / "server.py").write_text(SERVER)
    gunicorn = tree.start(sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", f"0.0.0.0:{free_port}", "server:app")
    until(lambda: get("127.0.0.1", free_port))
    time.sleep(0.5)
    addresses = clone_of(gunicorn.pid, 2, tree.environment)
    for address in addresses:
        assert get(address, free_port).isdigit()
    end(gunicorn, tree.environment)


CLUSTER = """
const cluster = require('node:cluster');
const http = require('node:http');
if (cluster.isPrimary) {
  if (process.argv[3]) require('gridcentric').serve();
  cluster.schedulingPolicy = process.argv[4] === 'shared' ? cluster.SCHED_NONE : cluster.SCHED_RR;
  for (let n = 0; n < 2; n++) cluster.fork();
  process.on('SIGTERM', () => cluster.disconnect(() => process.exit(0)));
} else {
  let count = 0;
  http.createServer((request, response) => response.end(`${process.pid} ${++count}`)).listen(Number(process.argv[2]));
}
"""


@repeated
@needs("node")
@pytest.mark.parametrize("scheduling", ["in turn", "shared"])
@pytest.mark.parametrize("guest", ["", "with the guest library"])
def test_a_cluster_of_node(tree: Any, free_port: int, guest: str, scheduling: str, repeat: int) -> None:
    """The primary hands connections to its workers (in turn), or they share its listener."""
    (tree.folder / "cluster.js").write_text(CLUSTER)
    (tree.folder / "node_modules").symlink_to(ROOT / "node_modules")
    primary = tree.start("node", "cluster.js", str(free_port), guest, scheduling)
    first = until(lambda: get("127.0.0.1", free_port))
    before = [first, *(get("127.0.0.1", free_port) for _ in range(10))]
    counts = {pid: int(count) for pid, count in map(str.split, before)}
    for address in ["127.0.0.1", *clone_of(primary.pid, 2, tree.environment)]:
        now = dict(counts)
        for _ in range(20):
            pid, count = get(address, free_port).split()
            now[pid] = now.get(pid, 0) + 1
            assert int(count) == now[pid]
    end(primary, tree.environment)
