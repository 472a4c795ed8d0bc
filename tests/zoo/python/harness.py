"""What the Python programs of the zoo share: a family of clones, all at work, and what each of them says.

A program prepares its state, calls family() or afamily(), which returns in the master alone, and asserts. It knows
neither modes nor leftovers: tests/zoo/playing.py runs it in both modes and looks after what it leaves.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Awaitable
from typing import Any, Callable, Optional

from gridcentric import CloneFailed, NotSupported, aio, guest

CLONES = 3
# Nothing waits this long unless it hangs; it never decides between right and wrong.
HANG_GUARD_S = 60

Work = Callable[[int], Any]
Visit = Callable[[str, int], Any]


def family(work: Work, visit: Optional[Visit] = None, clones: int = CLONES) -> tuple[Any, list[Any]]:
    """Clone; work(vmid) in the master and in each clone. In the master: what it gave there, and in the clones by vmid.

    visit(address, vmid) is called in the master for each domain while all of them live. A clone does not return from here.
    """
    ticket = guest.request_ticket(clones, clones, 1, 0)
    vmid = guest.clone(ticket)
    if vmid > 0:
        said = tried(work, vmid)
        guest.sync()
        guest.join(json.dumps(said))
    mine = work(0)
    for domain in guest.list_domains() if visit else ():
        visit(domain.ip if domain.vmid else "127.0.0.1", domain.vmid)
    guest.sync(ticket)
    return mine, told(guest.wait(ticket), clones)


async def afamily(work: Callable[[int], Awaitable[Any]], clones: int = CLONES) -> tuple[Any, list[Any]]:
    """family() for a program with an event loop: work is awaited."""
    ticket = await aio.request_ticket(clones, clones, 1, 0)
    vmid = await aio.clone(ticket)
    if vmid > 0:
        try:
            said = {"value": await work(vmid)}
        except BaseException:
            said = {"raised": traceback.format_exc()}
        await aio.sync()
        await aio.join(json.dumps(said))
    mine = await work(0)
    await aio.sync(ticket)
    return mine, told(await aio.wait(ticket), clones)


def tried(work: Work, vmid: int) -> dict[str, Any]:
    try:
        return {"value": work(vmid)}
    except BaseException:
        return {"raised": traceback.format_exc()}


def told(results: list[guest.Result], clones: int) -> list[Any]:
    """The clones' reports; says on standard output that all are there, which playing.py expects once of each program."""
    said = []
    for result in results:
        assert result.how == "joined", f"clone {result.vmid} {result.how} {result.status}"
        report = json.loads(result.report or b"{}")
        assert "value" in report, f"in clone {result.vmid}: {report['raised']}"
        said.append(report["value"])
    assert len(said) == clones, said
    say(f"{clones} clones reported")
    return said


def say(line: str) -> None:
    print(line, flush=True)


def refusal() -> str:
    """What clone() says when it refuses to clone this program, which goes on."""
    ticket = guest.request_ticket(CLONES, CLONES, 1, 0)
    try:
        assert guest.clone(ticket) == 0, "a clone was made"
    except (NotSupported, CloneFailed) as error:
        guest.release_ticket(ticket)
        return str(error)
    raise AssertionError("clone() did not refuse")


def until(true: Callable[[], Any], what: str) -> Any:
    """What true() gives when it is true at last; an error that names `what` when it never is."""
    end = time.monotonic() + HANG_GUARD_S
    while not (value := true()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)
    return value


async def auntil(true: Callable[[], Any], what: str) -> Any:
    """until() for a program with an event loop."""
    end = time.monotonic() + HANG_GUARD_S
    while not (value := true()):
        assert time.monotonic() < end, f"never: {what}"
        await asyncio.sleep(0.005)
    return value


def raised(function: Callable[..., Any], *arguments: Any) -> str:
    """The name of what function(*arguments) raises, or "" when it returns."""
    try:
        function(*arguments)
    except Exception as error:
        return type(error).__name__
    return ""


def own_address() -> str:
    """Where this domain's servers answer."""
    return guest.my_ip() if guest.vmid() else "127.0.0.1"


def get(address: str, port: int, path: str = "/") -> Any:
    """The JSON that a server answers."""
    with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=HANG_GUARD_S) as response:
        return json.loads(response.read())


def background(function: Callable[[], Any]) -> threading.Thread:
    """function in a daemon thread."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def python(*arguments: str) -> list[str]:
    """A command that runs this Python."""
    return [sys.executable, "-u", *arguments]
