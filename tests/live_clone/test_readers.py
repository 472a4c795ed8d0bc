"""Readers that go on in clones: the master gets every byte from outside, a clone reads end-of-file.

GC_REPEAT=N runs each case N times.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPEAT = int(os.environ.get("GC_REPEAT", "1"))
HANG = float(os.environ.get("GC_HANG_SECONDS", "120"))  # a guard against hangs

# A child that prints 0 ... 2999, one per line, with pauses so that most clones are made while it writes. It prints the last
# third only after it has been told that the clone is made.
CHILD = """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
for i in range(3000):
    if i == 2000: signal.sigwait([signal.SIGUSR1])
    print(i, flush=True)
    if i % 10 == 0: time.sleep(.001)
"""

PYTHON_HEAD = f"""
import asyncio, multiprocessing, os, signal, subprocess, sys, threading
from gridcentric import aio, guest
child = [sys.executable, "-c", {CHILD!r}]
numbers = "".join(f"{{i}}\\n" for i in range(3000))

def clone(child, say):
    "Master and clones call say(), which reads all there is; clones report what it returns."
    ticket = guest.request_ticket(3, 3, 1, 0)
    if guest.clone(ticket) > 0:
        guest.join(say())
    os.kill(child, signal.SIGUSR1)
    said = say()
    reports = [result.report.decode() for result in guest.wait(ticket, -1)]
    print(said, reports, flush=True)
"""

SUBPROCESS = """
process = subprocess.Popen(child, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
got, begun, over = [], threading.Event(), threading.Event()

def read():
    for line in process.stdout:
        got.append(line)
        if len(got) == 300: begun.set()
    over.set()

threading.Thread(target=read, daemon=True).start()
begun.wait()

def say():
    over.wait()
    if guest.ismaster():
        return "all" if "".join(got) == numbers else f"{len(got)} lines"
    try:
        print("x", file=process.stdin, flush=True)
    except BrokenPipeError:
        return "end" if len(got) < 3000 else "all"

clone(process.pid, say)
"""

CONNECTION = """
reader, writer = multiprocessing.Pipe(duplex=DUPLEX)

def work(connection):
    for i in range(3000):
        if i == 2000: signal.sigwait([signal.SIGUSR1])
        connection.send(i)

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
process = multiprocessing.get_context("fork").Process(target=work, args=(writer,))
process.start()
writer.close()
got, begun, over = [], threading.Event(), threading.Event()

def read():
    try:
        while True:
            got.append(reader.recv())
            if len(got) == 100: begun.set()
    except (EOFError, ConnectionResetError):
        over.set()

threading.Thread(target=read, daemon=True).start()
begun.wait()

def say():
    over.wait()
    if guest.ismaster():
        process.join()
        return "all" if got == list(range(3000)) else f"{len(got)} messages"
    return "end" if got == list(range(len(got))) and len(got) < 3000 else "wrong"

clone(process.pid, say)
os._exit(0)  # multiprocessing would wait for children that clones do not have
"""

ASYNCIO = """
async def main():
    process = await asyncio.create_subprocess_exec(*child, stdout=asyncio.subprocess.PIPE)
    head = [await process.stdout.readline() for _ in range(300)]
    rest = asyncio.create_task(process.stdout.read())
    ticket = await aio.request_ticket(3, 3, 1, 0)
    vmid = await aio.clone(ticket)
    if vmid == 0:
        process.send_signal(signal.SIGUSR1)
    text = b"".join(head) + await rest
    if vmid > 0:
        await aio.join("end" if len(text) < len(numbers) and numbers.startswith(text.decode()) else "wrong")
    said = "all" if text.decode() == numbers else f"{len(text)} bytes"
    print(said, [result.report.decode() for result in await aio.wait(ticket, -1)])
    await process.wait()

asyncio.run(main())
"""

PTY = """
import pty, tty
master, other = pty.openpty()
tty.setraw(other)
process = subprocess.Popen(child, stdin=other, stdout=other)
os.close(other)
got, begun, over = [], threading.Event(), threading.Event()

def read():
    try:
        while data := os.read(master, 1000):
            got.append(data)
            if sum(map(len, got)) > 1000: begun.set()
    except OSError:
        pass
    over.set()

threading.Thread(target=read, daemon=True).start()
begun.wait()

def say():
    over.wait()
    if guest.ismaster():
        return "all" if b"".join(got).decode() == numbers else f"{sum(map(len, got))} bytes"
    try:
        os.write(master, b"x")
    except OSError as error:
        text = b"".join(got).decode()
        return "end" if len(text) < len(numbers) and numbers.startswith(text) else "wrong"

clone(process.pid, say)
"""

NODE = f"""
const gridcentric = require('gridcentric');
const {{ spawn }} = require('node:child_process');
const child = spawn(process.argv[1], ['-c', {CHILD!r}]);
const numbers = Array.from({{ length: 3000 }}, (_, i) => `${{i}}\\n`).join('');
let text = '';
const over = new Promise((resolve) => child.stdout.on('end', resolve));
const begun = new Promise((resolve) => child.stdout.on('data', (data) => {{
  text += data;
  if (text.length > 1000) resolve();
}}));
(async () => {{
  await begun;
  const ticket = await gridcentric.request_ticket(3, 3, 1, 0);
  const vmid = await gridcentric.clone(ticket);
  child.kill('SIGUSR1'); // reaches nobody from a clone
  await over;
  if (vmid > 0) return gridcentric.join(text.length < numbers.length && numbers.startsWith(text) ? 'end' : 'wrong');
  const reports = (await gridcentric.wait(ticket, -1)).map((result) => `'${{result.report}}'`);
  console.log(text === numbers ? 'all' : `${{text.length}} bytes`, `[${{reports.join(', ')}}]`);
}})();
"""

PYTHON = {
    "subprocess": SUBPROCESS,
    "one-way Pipe": CONNECTION.replace("DUPLEX", "False"),
    "duplex Pipe": CONNECTION.replace("DUPLEX", "True"),
    "asyncio": ASYNCIO,
    "pty": PTY,
}


def play(command: list[str], mode: str) -> None:
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"GRIDCENTRIC_CLONE_MODE": mode},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert result.stdout == "all ['end', 'end', 'end']\n", result.stdout + result.stderr


@pytest.mark.parametrize("repeat", range(REPEAT))
@pytest.mark.parametrize("mode", ["pidns", "plain"])
@pytest.mark.parametrize("name", PYTHON)
def test_python(name: str, mode: str, repeat: int) -> None:
    play([sys.executable, "-c", PYTHON_HEAD + PYTHON[name]], mode)


@pytest.mark.parametrize("repeat", range(REPEAT))
@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_node(mode: str, repeat: int) -> None:
    play([shutil.which("node") or "node", "-e", NODE, sys.executable], mode)
