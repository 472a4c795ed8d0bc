"""The files pre-clone and post-clone (docs/live-clone.md) in a VM: they run in master and clones of any program."""

from __future__ import annotations

import pytest
from vms import Family, Program

from gridcentric import _paths

HOOK = """#!/bin/sh
echo "${0##*/} $GC_ROLE $GC_VMID $GC_IP $GC_TICKET $(gc vmid) $(gc my-ip)"
[ "$GC_ROLE ${0##*/}" != "$FAILS" ] || exit 3
"""
SHELL = """ticket=$(gc rt 2 2 1 10000)
echo $ticket
clone=$(gc clone $ticket) && echo went on || echo "trouble $?"
gc ismaster || exec gc join
gc wait $ticket > /dev/null"""
PYTHON = """from gridcentric import Error, guest
ticket = guest.request_ticket(2, 2, 1, 10000)
print("ticket", ticket, flush=True)
try:
    guest.clone(ticket)
    print("went on", flush=True)
except Error as error:
    print("trouble", error, flush=True)
if not guest.ismaster():
    guest.join()
guest.wait(ticket, -1)
"""
NODE = """const gc = require('gridcentric');
(async () => {
  const ticket = await gc.requestTicket(2, 2, 1, 10000);
  console.log('ticket', ticket);
  try {
    await gc.clone(ticket);
    console.log('went on');
  } catch (error) { console.log('trouble', error.message); }
  if (!gc.ismaster()) await gc.join();
  await gc.wait(ticket, -1);
})();
"""
# A program in C brings the library along: there is no gc beside it.
C = """import ctypes, os
library = ctypes.CDLL("/root/brought/libgridcentric.so")
library.gc_error_text.restype = ctypes.c_char_p
class Ticket(ctypes.Structure):
    _fields_ = [("value", ctypes.c_char * 37)]
ticket = Ticket()
assert library.gc_request_ticket(2, 2, 1, 10000, ctypes.byref(ticket)) == 0
print("ticket", ticket.value.decode(), flush=True)
print("went on" if library.gc_clone(ticket) >= 0 else f"trouble {library.gc_error_text().decode()}", flush=True)
if not library.gc_ismaster():
    library.gc_join_noreport()
library.gc_wait(ticket, -1, ctypes.byref(ctypes.c_void_p()), ctypes.byref(ctypes.c_size_t()))
"""
PROGRAMS = {
    "shell": ("bash", "-c", SHELL),
    "python": ("python3", "-c", PYTHON),
    "node": ("node", "-e", NODE),
    "c": ("env", "-u", "GRIDCENTRIC_GC", "python3", "-c", C),
}


def run(family: Family, program: str, fails: str = "") -> Program:
    """hook FAILS in the role of its name, as "master pre-clone"."""
    family.run("mkdir", "-p", "/root/hooks", "/root/brought")
    for name in ("pre-clone", "post-clone"):
        family.run("sh", "-c", f"cat > /root/hooks/{name}; chmod 755 /root/hooks/{name}", given=HOOK.encode())
    if program == "c":
        family.copy(_paths.PACKAGE / "lib" / "libgridcentric.so", "/root/brought/libgridcentric.so")
    started = family.start("env", "GRIDCENTRIC_HOOKS=/root/hooks", f"FAILS={fails}", *PROGRAMS[program])
    family.until(lambda: started.master.code is not None and not family.clones())
    return started


@pytest.mark.parametrize("program", PROGRAMS)
def test_hooks_run_in_master_and_clones(family: Family, program: str) -> None:
    done = run(family, program)
    ticket = done.master.lines[0].split()[1]
    who = f"0 {family.master.ip} {ticket} 0 {family.master.ip}"
    assert done.master.lines[1:4] == [f"pre-clone master {who}", f"post-clone master {who}", "went on"], done.text()
    assert len(done.clones()) == 2
    for clone in done.clones():
        hook, went_on = clone.lines
        ip = hook.split()[3]
        assert hook == f"post-clone clone {clone.vmid} {ip} {ticket} {clone.vmid} {ip}"
        assert ip != family.master.ip
        assert went_on == "went on"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_failing_pre_clone_is_an_error(family: Family, program: str) -> None:
    done = run(family, program, "master pre-clone")
    assert not done.clones()
    assert "went on" not in done.master.lines
    assert "the hook '/root/hooks/pre-clone' failed with exit status 3" in done.master.output.decode()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_failing_post_clone_ends_the_clone(family: Family, program: str) -> None:
    done = run(family, program, "clone post-clone")
    assert "went on" in done.master.lines
    assert len(done.clones()) == 2
    family.until(lambda: all(clone.vmid in family.codes for clone in done.clones()))
    for clone in done.clones():
        hook, why = clone.lines
        assert hook.startswith(f"post-clone clone {clone.vmid} ")
        assert why == f"gridcentric: clone {clone.vmid} ends: the hook '/root/hooks/post-clone' failed with exit status 3"
