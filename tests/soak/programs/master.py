"""A master of the soak: clones itself again and again. `master.py KIND ROUNDS CLONES`; says "made N" for each N clones it has
made, and "up" when it wants something done to it from outside.

KIND: joins, dies, grows (clones clone), stops (some clones are stopped), raises, vanishes (it is to be killed), stopped (it is
to be stopped and continued), leaves (its clones outlive it).
"""

import os
import signal
import sys
import time

from gridcentric import guest

KIND, ROUNDS, CLONES = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
REPORT = bytes(10_000)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())  # at once, and not again in a clone


def clone(most: int) -> tuple[int, str, int]:
    ticket = guest.request_ticket(most, 1, 1, -1)
    vms = guest.ticket_info(ticket).vms
    vmid = guest.clone(ticket)
    if not vmid:
        say(f"made {vms}")
    return vmid, ticket, vms


def be_a_clone(vmid: int) -> None:
    if KIND == "dies" and vmid % 4 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if KIND == "dies" and vmid % 4 == 1:
        os._exit(3)
    if KIND == "dies" and vmid % 4 == 2:
        raise SystemExit(5)
    if KIND == "stops" and vmid % 2:
        os.kill(os.getpid(), signal.SIGSTOP)
    if KIND == "grows":
        inner, ticket, vms = clone(2)
        if inner:
            guest.join(REPORT)
        assert [result.how for result in guest.wait(ticket, forget=True)] == ["joined"] * vms
    if KIND in ("raises", "vanishes"):
        time.sleep(1000)
    if KIND == "leaves":
        time.sleep(0.3)
    guest.sync() if KIND == "joins" else None
    guest.join(REPORT)


def check(ticket: str, vms: int, first: int) -> None:
    """How the clones have ended is how they were told to."""
    expected = {}
    for vmid in range(first, first + vms):
        how = {"dies": ["killed", "exited", "exited", "joined"][vmid % 4], "stops": "killed" if vmid % 2 else "joined"}
        expected[vmid] = how.get(KIND, "joined")
    ended = {result.vmid: result.how for result in guest.wait(ticket, forget=True)}
    # A kernel before 6.15 may have forgotten how.
    assert all(ended[vmid] in (how, "lost") for vmid, how in expected.items()), (KIND, ended)
    assert ended.keys() == expected.keys()


def main() -> None:
    first = 1
    for _ in range(ROUNDS):
        vmid, ticket, vms = clone(CLONES)
        if vmid:
            be_a_clone(vmid)
        if KIND == "joins":
            guest.sync(ticket)
        if KIND == "raises":
            raise RuntimeError("told to")
        if KIND == "vanishes":
            say("up")
            time.sleep(1000)
        if KIND == "stopped":
            say("up")
        if KIND == "leaves":
            return
        if KIND == "stops":
            while len(left := [d.vmid for d in guest.list_domains() if d.vmid]) > sum(v % 2 for v in range(first, first + vms)):
                time.sleep(0.01)
            for stopped in left:
                guest.kill(stopped)
        if KIND == "grows":
            first_of_all = guest.wait(ticket, forget=True)
            assert [result.how for result in first_of_all] == ["joined"] * vms, first_of_all
        else:
            check(ticket, vms, first)
            first += vms
    assert len(guest.list_tickets()) == 1
    assert [domain.vmid for domain in guest.list_domains()] == [0]


main()
