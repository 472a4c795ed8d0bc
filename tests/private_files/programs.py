"""A program that prepares something in a private folder, clones itself, and checks it in every domain at the same time."""

from __future__ import annotations

import textwrap

CLONES = 3

PROGRAM = """
import ctypes, fcntl, mmap, os, sqlite3, stat, subprocess, sys, tempfile, textwrap, threading, traceback
from gridcentric import guest

def read(path):
    with open(path) as file:
        return file.read()

def write(path, text):
    with open(path, "w") as file:
        file.write(text)

def meet():
    guest.sync() if guest.vmid() else guest.sync(ticket)

{prepare}

ticket = guest.request_ticket({clones}, {clones}, 1, 5000)
vmid = guest.clone(ticket)
me = str(vmid)
said = "well"
try:
{check}
except BaseException:
    said = traceback.format_exc()
if vmid:
    guest.join(said.encode())
for result in guest.wait(ticket):
    print(result.vmid, (result.report or b"nothing: %s" % repr(result).encode()).decode())
print(0, said)
"""


def program(prepare: str, check: str, clones: int = CLONES) -> str:
    return PROGRAM.format(
        prepare=textwrap.dedent(prepare), check=textwrap.indent(textwrap.dedent(check), "    "), clones=clones
    )


def went_well(clones: int = CLONES) -> str:
    return "".join(f"{vmid} well\n" for vmid in [*range(1, clones + 1), 0])
