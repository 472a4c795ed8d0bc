"""The random numbers of children: no two domains draw the same. GC_REPEAT=N plays each N times."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from from_outside import clone_of, end, get, until
from from_within import CLONE, FINALLY

repeated = pytest.mark.parametrize("repeat", range(int(os.environ.get("GC_REPEAT", "1"))))

SERVER = """
import random, secrets, ssl, uuid
{more}

def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    drawn = [random.random(), secrets.token_hex(), uuid.uuid4(), ssl.RAND_bytes(16).hex()]
    return [' '.join(map(str, drawn)).encode()]
"""


@repeated
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("more", ["", "import gridcentric"])
def test_workers_of_gunicorn(tree: Any, free_port: int, more: str, threads: int, repeat: int) -> None:
    (tree.folder / "server.py").write_text(SERVER.format(more=more))
    gunicorn = tree.start(
        sys.executable, "-m", "gunicorn", "--threads", str(threads), "--bind", f"0.0.0.0:{free_port}", "server:app"
    )
    until(lambda: get("127.0.0.1", free_port))
    domains = ["127.0.0.1", *clone_of(gunicorn.pid, 2, tree.environment)]
    drawn = [get(address, free_port).split() for address in domains for _ in range(2)]
    assert all(len(set(numbers)) == 6 for numbers in zip(*drawn)), drawn
    end(gunicorn, tree.environment)


BUSY = (
    """
import os, random, subprocess, time
from multiprocessing import get_context

def work(results, go):
    while not go.is_set():
        sum(range(1000))  # computes, and waits for nothing
    time.sleep(0.3)
    results.put(random.random())

context = get_context("fork")
results, go = context.Queue(), context.Event()
worker = context.Process(target=work, args=(results, go))
worker.start()
time.sleep(0.1)
"""
    + CLONE
    + """
go.set()
os.write(1, f"{results.get()}\\n".encode())
worker.join()
"""
    + FINALLY
)


@repeated
def test_a_child_that_computes(tree: Any, repeat: int) -> None:
    """It is repaired when it next waits for something."""
    (tree.folder / "busy.py").write_text(BUSY)
    said = tree.lines(sys.executable, "busy.py")
    assert len(set(said)) == 3, said


def test_strict_is_strict_with_children_too(tree: Any) -> None:
    """A child that has something whose random numbers repeat."""
    tree.environment["GRIDCENTRIC_STRICT"] = "1"
    file = tree.folder / "script"
    file.write_text("""
exec 3< <(exec node -e 'console.log("ready"); setInterval(() => {}, 1000)')
child=$!
read -u 3
ticket=$(gc rt 1 1 1 5000 | awk '{print $2}')
gc clone $ticket
echo "exit code $?"
kill $child
""")
    said = tree.run("bash", str(file))
    assert said.stdout == "exit code 24\n", said
    assert "GRIDCENTRIC_STRICT is set, and process " in said.stderr
    assert "random numbers of Node (" in said.stderr
